"""Every kind of operator, built from its spec: adjointness, dense normal, restriction."""

import math

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.grid import Patch
from normalfit.operators.in_slabs import adjoint_in_slabs, forward_in_slabs
from normalfit.specs import load_spec


@pytest.fixture
def operator(case, write_spec):
    return load_spec(write_spec(*case)).build(backend="numba")


def random(operator, shape, dtype, seed):
    dtype = dtype.to_complex() if operator.is_complex else dtype
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def wide(operator):
    return torch.complex128 if operator.is_complex else torch.float64


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_adjoint_passes_the_dot_test(operator, dtype, limit):
    x = random(operator, operator.domain.shape, dtype, 0)
    y = random(operator, operator.range.shape, dtype, 1)
    ax, aty = operator.forward(x).to(wide(operator)), operator.adjoint(y).to(wide(operator))
    difference = (ax * y.conj()).sum() - (x * aty.conj()).sum()
    assert abs(difference) < limit * ax.norm() * y.norm().double()


def test_normal_is_the_dense_product(operator):
    A = dense_matrix(operator.forward, operator.domain.shape, wide(operator))
    assert A.any()
    found = dense_matrix(operator.normal, operator.domain.shape, wide(operator))
    torch.testing.assert_close(found, A.mH @ A)


def test_restricted_normal_is_the_dense_submatrix(operator):
    shape = operator.domain.shape
    patch = Patch(tuple(min(1, n - 1) for n in shape), tuple(math.ceil(n / 2) for n in shape))
    truth = dense_matrix(
        lambda x: patch.extract(operator.normal(patch.embed(x, shape))),
        patch.shape,
        wide(operator),
    )
    restricted = operator.restricted(patch)
    assert restricted.domain.shape == patch.shape
    found = dense_matrix(restricted.normal, patch.shape, wide(operator))
    torch.testing.assert_close(found, truth)
    A = dense_matrix(restricted.forward, patch.shape, wide(operator))
    torch.testing.assert_close(A.mH @ A, truth)


def test_batches_are_mapped_one_by_one(operator):
    x = random(operator, (2, 3, *operator.domain.shape), torch.float64, 0)
    assert operator.forward(x).shape == (2, 3, *operator.range.shape)
    torch.testing.assert_close(operator.forward(x)[1, 2], operator.forward(x[1, 2]))


def test_grid_is_the_domain_of_the_built_operator(case, write_spec):
    spec = load_spec(write_spec(*case))
    assert spec.grid == spec.build(backend="numba").domain


@pytest.mark.parametrize("planes", [1, 3, 1000])
def test_slab_by_slab_is_the_whole(operator, planes):
    x = random(operator, operator.domain.shape, torch.float64, 0)
    y = random(operator, operator.range.shape, torch.float64, 1).to(operator.forward(x).dtype)
    found = forward_in_slabs(operator, x.numpy(), planes)
    torch.testing.assert_close(found, operator.forward(x), rtol=1e-12, atol=1e-11)
    starts, slabs = zip(*adjoint_in_slabs(operator, y, planes), strict=True)
    torch.testing.assert_close(torch.cat(slabs), operator.adjoint(y), rtol=1e-12, atol=1e-11)
    assert starts[0] == 0
    if len(starts) == 1:  # one slab for what cannot be cut
        assert planes >= operator.domain.shape[0] or not hasattr(operator, "windows")
