"""A sweep of tied terms: its error is the true one, and it never rises without ridges."""

import math

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.diagonal_prior import no_ridge
from normalfit.lag_grid import LagGrid
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.probes import ProbeSet
from normalfit.terms import Terms
from normalfit.tied_alternation import TiedAlternation
from normalfit.tied_descent import TiedDescent

SHAPE = (3, 4)
OPTIONS = LeastSquaresOptions(ridge_kernel=0, ridge_u=0, cg_iterations=60, cg_tolerance=1e-12)


@pytest.mark.parametrize("kernels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("descent", [False, True])
def test_the_error_falls_with_every_sweep(kernels, dtype, descent):
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(12, 12, dtype=dtype, generator=draw)
    N = A.mH @ A
    unit = torch.eye(12, dtype=dtype).reshape(12, *SHAPE)
    training = ProbeSet(unit, N.T.reshape(12, *SHAPE).contiguous())
    grid = LagGrid.full(SHAPE, ("linear", "linear"))
    v = torch.randn(3, *SHAPE, dtype=dtype, generator=draw)
    h = torch.zeros(kernels, *grid.lags, dtype=dtype)
    none = no_ridge(v, 3, SHAPE)
    terms = Terms(v.conj().resolve_conj(), h, v, torch.zeros_like(h.real), none, none)
    method = TiedAlternation(grid, training, OPTIONS)
    sweep = TiedDescent(grid, training, OPTIONS, method).sweep if descent else method.sweep
    last = math.inf
    for _ in range(6):
        terms, error = sweep(terms, 0.0)
        B = dense_matrix(terms.factors(grid), SHAPE, dtype)
        assert error == pytest.approx(float(torch.linalg.norm(B - N) / torch.linalg.norm(N)))
        assert error <= last * (1 + 1e-9)
        last = error
