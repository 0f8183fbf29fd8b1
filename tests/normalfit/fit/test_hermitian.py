"""Projections of kernels: onto Hermitian ones, and onto those of positive operators."""

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.factors import Factors
from normalfit.hermitian import hermitian, positive_semidefinite, reflected
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel

SHAPE = (4, 6)
GRIDS = [
    LagGrid.full(SHAPE, ("linear", "linear")),
    LagGrid.full(SHAPE, ("periodic", "periodic")),
    LagGrid.full(SHAPE, ("periodic", "linear")),
    LagGrid(SHAPE, (3, 5), ("linear", "linear")),
    LagGrid(SHAPE, (3, 5), ("periodic", "periodic")),
]
DTYPES = [torch.float64, torch.complex128]


def kernels(grid, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, *grid.lags, dtype=dtype, generator=draw)


def matrix(kernel, grid, dtype, image=None):
    v = None if image is None else image.conj()
    return dense_matrix(Factors(LagKernel(kernel, SHAPE, grid.boundary), image, v), SHAPE, dtype)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hermitian_is_the_orthogonal_projection(grid, dtype):
    h, other = kernels(grid, dtype), hermitian(kernels(grid, dtype, seed=1), grid)
    tied = hermitian(h, grid)
    assert torch.equal(tied, reflected(tied, grid.lags))
    torch.testing.assert_close(hermitian(tied, grid), tied)
    # what was taken away is at right angles to every Hermitian kernel
    left = torch.vdot(other.flatten(), (h - tied).flatten()).real
    assert float(left.abs()) < 1e-12


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hermitian_kernels_are_self_adjoint_convolutions(grid, dtype):
    H = matrix(hermitian(kernels(grid, dtype), grid), grid, dtype)
    torch.testing.assert_close(H, H.mH)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_kernels_have_no_negative_frequency(grid, dtype):
    h = positive_semidefinite(kernels(grid, dtype), grid)
    torch.testing.assert_close(h, reflected(h, grid.lags))
    spectrum = grid.spectrum(h, half=not dtype.is_complex)
    top = float(spectrum.real.amax())
    assert float(spectrum.real.amin()) >= -1e-14 * top
    assert float(spectrum.imag.abs().amax()) <= 1e-13 * top


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_kernels_between_tied_diagonals_are_positive_operators(grid, dtype):
    draw = torch.Generator().manual_seed(3)
    image = torch.randn(2, *SHAPE, dtype=dtype, generator=draw)
    B = matrix(positive_semidefinite(kernels(grid, dtype), grid), grid, dtype, image)
    values = torch.linalg.eigvalsh(B)
    assert float(values.min()) >= -1e-12 * float(values.max())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_positive_already_stays(grid, dtype):
    h = positive_semidefinite(kernels(grid, dtype), grid)
    torch.testing.assert_close(positive_semidefinite(h, grid), h)


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_a_periodic_grid_no_positive_kernel_is_nearer(dtype):
    grid = GRIDS[1]
    h = kernels(grid, dtype)
    nearest = float(torch.linalg.norm(h - positive_semidefinite(h, grid)))
    for seed in range(1, 20):
        step = 0.1 * kernels(grid, dtype, seed)
        other = positive_semidefinite(positive_semidefinite(h, grid) + step, grid)
        assert float(torch.linalg.norm(h - other)) >= nearest
