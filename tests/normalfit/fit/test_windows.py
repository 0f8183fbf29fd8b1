"""The windows of local factors: they sum to one, and a patch keeps those that it meets."""

import math

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.kernel_step import expected_gram
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.local_alternation import _window_gram
from normalfit.restriction import restrict, restrict_batch
from normalfit.windows import axis_windows, lattice_windows

SHAPE = (12, 9)
COUNTS = (4, 3)


def local_factors():
    draw = torch.Generator().manual_seed(0)
    windows = lattice_windows(SHAPE, COUNTS)
    kernel = torch.randn(len(windows), 5, 7, generator=draw, dtype=torch.float64)
    d = 1 + torch.rand(SHAPE, generator=draw, dtype=torch.float64)
    return Factors(LagKernel(kernel, SHAPE, ("linear", "linear")), d * windows)


@pytest.mark.parametrize(("samples", "count"), [(12, 4), (9, 3), (7, 2), (5, 5), (6, 1), (1, 1)])
def test_axis_windows_sum_to_one(samples, count):
    windows = axis_windows(samples, count)
    assert windows.shape == (count, samples)
    assert float(windows.min()) >= 0
    torch.testing.assert_close(windows.sum(0), torch.ones(samples, dtype=torch.float64))


@pytest.mark.parametrize(("samples", "count"), [(12, 4), (20, 5), (9, 3)])
def test_axis_windows_are_compact_symmetric_and_ordered(samples, count):
    windows = axis_windows(samples, count)
    torch.testing.assert_close(windows, windows.flip(0, 1))
    # two distances wide at most, and only neighbours overlap
    assert int((windows > 1e-12).sum(1).max()) <= math.ceil(2 * samples / count)
    for k in range(count - 2):
        assert float((windows[k] * windows[k + 2 :]).max()) < 1e-12
    assert windows[0, 0] == windows[-1, -1] == 1


def test_the_lattice_is_made_of_products_in_c_order():
    windows = lattice_windows((6, 5, 4), (3, 2, 2))
    assert windows.shape == (12, 6, 5, 4)
    torch.testing.assert_close(windows.sum(0), torch.ones(6, 5, 4, dtype=torch.float64))
    first, second, third = axis_windows(6, 3), axis_windows(5, 2), axis_windows(4, 2)
    expected = torch.einsum("a,b,c->abc", first[2], second[0], third[1])
    torch.testing.assert_close(windows[2 * 4 + 0 * 2 + 1], expected)


@pytest.mark.parametrize("boundary", [("linear", "linear"), ("periodic", "linear")])
@pytest.mark.parametrize("lags", [(5, 3), (7, 9)])
def test_the_gram_of_the_windows_is_that_of_any_diagonals(boundary, lags):
    grid = LagGrid(SHAPE, lags, boundary)
    expected = expected_gram(grid, lattice_windows(SHAPE, COUNTS), None, energy=1.0)
    torch.testing.assert_close(_window_gram(grid, COUNTS), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("patch", "kept"), [(Patch((0, 0), (1, 1)), 1), (Patch((1, 1), (4, 3)), 4)], ids=str
)
def test_a_patch_keeps_the_windows_that_it_meets_and_stays_exact(patch, kept):
    factors = local_factors()
    dense = dense_matrix(factors, SHAPE).reshape(*SHAPE, *SHAPE)
    restricted = restrict(factors, patch)
    assert restricted.terms == restricted.kernel.terms == kept
    size = math.prod(patch.shape)
    expected = dense[(*patch.slices, *patch.slices)].reshape(size, size)
    torch.testing.assert_close(dense_matrix(restricted, patch.shape), expected)
    adjoint = dense_matrix(restricted.adjoint, patch.shape)
    torch.testing.assert_close(adjoint, expected.T)


def test_a_batch_of_patches_keeps_the_windows_that_any_of_them_meets():
    factors = local_factors()
    patches = [Patch((0, 0), (3, 3)), Patch((9, 6), (3, 3))]
    together = restrict_batch(factors, patches)
    singles = [restrict(factors, patch) for patch in patches]
    assert together.terms == sum(single.terms for single in singles) < factors.terms
    x = torch.randn(2, 3, 3, dtype=torch.float64)
    for result, single, part in zip(together(x), singles, x, strict=True):
        torch.testing.assert_close(result, single(part))


def test_a_patch_on_which_every_diagonal_vanishes_keeps_one_shape():
    factors = local_factors()
    assert factors.u is not None
    factors.u[:, :4, :4] = 0
    restricted = restrict(factors, Patch((0, 0), (3, 3)))
    assert not restricted(torch.ones(3, 3, dtype=torch.float64)).any()


def test_patches_of_one_shape_share_their_spectra():
    factors = local_factors()
    first, second = (restrict(factors, Patch((i, 0), (4, 4))) for i in (0, 8))
    whole = factors.kernel.restricted((4, 4))
    assert "half_spectrum" in whole.__dict__
    for restricted in (first, second):
        x = torch.randn(4, 4, dtype=torch.float64)
        fresh = Factors(LagKernel(restricted.kernel.values, (4, 4), ("linear",) * 2), restricted.u)
        torch.testing.assert_close(restricted(x), fresh(x))
        assert "half_spectrum" in restricted.kernel.__dict__
