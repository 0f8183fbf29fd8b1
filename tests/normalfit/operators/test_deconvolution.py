"""The blur against a direct sum over lags, for every boundary and any kernel length."""

import itertools
import pickle

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.operators.deconvolution import Deconvolution

SHAPE = (5, 6)
BOUNDARIES = list(itertools.product(["periodic", "linear"], repeat=2))
LAGS = [(1, 1), (2, 3), (3, 2), (4, 4), (5, 6), (6, 5), (9, 11), (10, 12), (13, 14)]


def random(shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def direct_sum(x, kernel, boundary):
    """``y[n] = Σ_τ h[τ] x[n - τ]`` by shifting x once per lag."""
    y = torch.zeros(x.shape, dtype=torch.result_type(x, kernel))
    for index in itertools.product(*map(range, kernel.shape)):
        shifted = x
        for axis, (i, length) in enumerate(zip(index, kernel.shape, strict=True)):
            lag = i - length // 2
            shifted = shifted.roll(lag, axis)
            if boundary[axis] == "linear":
                source = torch.arange(x.shape[axis]) - lag
                inside = (source >= 0) & (source < x.shape[axis])
                shifted = shifted * inside.reshape(-1, *[1] * (x.ndim - axis - 1))
        y += kernel[index] * shifted
    return y


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("lags", LAGS)
def test_forward_is_the_sum_over_lags(lags, boundary):
    kernel, x = random(lags), random(SHAPE, seed=1)
    operator = Deconvolution(Grid(SHAPE), kernel, boundary)
    torch.testing.assert_close(operator.forward(x), direct_sum(x, kernel, boundary))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("lags", LAGS)
def test_adjoint_is_the_conjugate_transpose(lags, boundary, dtype):
    operator = Deconvolution(Grid(SHAPE), random(lags, dtype), boundary)
    forward = dense_matrix(operator.forward, SHAPE, dtype)
    adjoint = dense_matrix(operator.adjoint, SHAPE, dtype)
    torch.testing.assert_close(adjoint, forward.mH)


@pytest.mark.parametrize(
    "patch", [Patch((1, 2), (3, 2)), Patch((0, 4), (2, 2)), Patch.whole(SHAPE)]
)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("lags", LAGS)
def test_restricted_normal_is_the_dense_submatrix(lags, boundary, patch):
    operator = Deconvolution(Grid(SHAPE), random(lags), boundary)
    restricted = operator.restricted(patch)
    x = random(patch.shape, seed=2)
    truth = patch.extract(operator.normal(patch.embed(x, SHAPE)))
    torch.testing.assert_close(restricted.normal(x), truth)


def test_restricted_computes_only_what_the_kernel_reaches():
    operator = Deconvolution(Grid((40, 40)), random((3, 5)), ("linear", "periodic"))
    assert operator.restricted(Patch((10, 10), (5, 5))).range.shape == (7, 9)
    assert operator.restricted(Patch((0, 0), (5, 5))).range.shape == (6, 40)


def test_real_kernel_blurs_complex_images():
    kernel, x = random((3, 3)), random(SHAPE, torch.complex64)
    operator = Deconvolution(Grid(SHAPE), kernel, "linear")
    y = operator.forward(x)
    assert y.dtype == torch.complex64
    torch.testing.assert_close(y.real, operator.forward(x.real))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gpu_equals_cpu(boundary):
    operator = Deconvolution(Grid(SHAPE), random((3, 4)), boundary)
    x = random((2, *SHAPE))
    for function in (operator.forward, operator.adjoint):
        y = function(x.cuda())
        assert y.is_cuda
        torch.testing.assert_close(y.cpu(), function(x))


def test_complex_kernel_refuses_real_images():
    operator = Deconvolution(Grid(SHAPE), random((3, 3), torch.complex128), "linear")
    with pytest.raises(InputError, match="x must be complex"):
        operator.forward(random(SHAPE))


@pytest.mark.parametrize("lags", [(3,), (3, 3, 3), (0, 3)])
def test_kernel_must_have_the_axes_of_the_domain(lags):
    with pytest.raises(InputError, match="kernel must have 2 axes"):
        Deconvolution(Grid(SHAPE), torch.ones(lags))


@pytest.mark.parametrize("boundary", ["zero", ("linear",), ("linear", "wrap")])
def test_boundary_must_be_known(boundary):
    with pytest.raises(InputError, match="boundary must be 'periodic' or 'linear'"):
        Deconvolution(Grid(SHAPE), torch.ones(3, 3), boundary)


def test_pickle_leaves_the_copies_behind():
    operator = Deconvolution(Grid(SHAPE), random((3, 3)))
    y = operator.forward(torch.ones(SHAPE))
    size = len(pickle.dumps(Deconvolution(Grid(SHAPE), random((3, 3)))))
    assert len(pickle.dumps(operator)) == size
    assert torch.equal(pickle.loads(pickle.dumps(operator)).forward(torch.ones(SHAPE)), y)  # noqa: S301
