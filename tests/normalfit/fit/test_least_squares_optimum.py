"""With all unit vectors as probes and no ridge, least squares reaches the dense optimum."""

from dataclasses import replace

import pytest
import torch

from normalfit.dense import best_factors, dense_matrix
from normalfit.factors import Factors
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import FunctionOperator
from normalfit.metrics import grid_error
from normalfit.model import Model
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probes import ProbeSet

SHAPE = (5, 6)
EXACTLY = LeastSquaresOptions(
    ridge_kernel=0.0,
    ridge_u=0.0,
    sweeps=1000,
    patience=2,
    min_improvement=0.0,
    stage_improvement=1e-6,
    cg_iterations=60,
    cg_tolerance=1e-12,
)


def tiny_scanner():
    angles = torch.linspace(0, torch.pi, 8)[:-1].double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=7, column_mm=1.0)
    return ParallelBeam(Grid(SHAPE, (1.0, 1.0)), geometry)


def unit_probes(normal):
    size = torch.Size(SHAPE).numel()
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *SHAPE)
    return ProbeSet(unit, normal.T.reshape(size, *SHAPE).contiguous())


def gapped_operator():
    """Two terms and a little of everything else: singular values with a gap after the second."""
    draw = torch.Generator().manual_seed(0)
    u, v = 1 + 0.5 * torch.randn(2, 2, *SHAPE, generator=draw, dtype=torch.float64)
    h = torch.randn(2, *SHAPE, generator=draw, dtype=torch.float64)
    N = dense_matrix(Factors(LagKernel(h, SHAPE, ("periodic",) * 2), u, v), SHAPE)
    return N + 0.2 * torch.randn(N.shape, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("terms", [1, 2, 3])
@pytest.mark.parametrize("scanned", [True, False])
def test_periodic_factors_are_the_truncated_svd(terms, scanned):
    N = dense_matrix(tiny_scanner().normal, SHAPE) if scanned else gapped_operator()
    probes, model = unit_probes(N), Model("diagonal-circulant", "periodic", terms=terms)
    found = fit_least_squares(probes, probes, model, self_adjoint=scanned, options=EXACTLY)
    B = dense_matrix(found.factors, SHAPE)
    best = dense_matrix(best_factors(N, SHAPE, ("periodic",) * 2, terms=terms), SHAPE)
    assert torch.linalg.norm(B - best) < 1e-6 * torch.linalg.norm(best)


@pytest.mark.parametrize("terms", [1, 2])
def test_linear_factors_reach_masked_least_squares(terms):
    N = dense_matrix(tiny_scanner().normal, SHAPE)
    probes, model = unit_probes(N), Model("diagonal-circulant", terms=terms)
    options = replace(EXACTLY, min_improvement=1e-7, starts=5)
    found = fit_least_squares(probes, probes, model, options=options)
    best = dense_matrix(best_factors(N, SHAPE, ("linear",) * 2, terms=terms), SHAPE)
    reached = torch.linalg.norm(dense_matrix(found.factors, SHAPE) - N)
    assert reached <= 1.01 * torch.linalg.norm(best - N)


@pytest.mark.parametrize("method", ["least-squares", "adam"])
def test_a_fit_repeats_bit_for_bit(method):
    def run():
        return fit(
            tiny_scanner(),
            model="diagonal-circulant",
            method=method,
            probes=6,
            held_out=4,
            evaluation=4,
            seed=3,
            terms=2,
        )

    first, second = run(), run()
    assert torch.equal(first.factors.kernel.values, second.factors.kernel.values)
    assert torch.equal(first.factors.u, second.factors.u)
    assert first.report.grid_error == second.report.grid_error


def test_the_reported_error_is_the_dense_one_within_its_interval():
    operator = tiny_scanner()
    result = fit(operator, probes=32, held_out=8, evaluation=64)
    N = dense_matrix(operator.normal, SHAPE).float()
    B = dense_matrix(result.factors, SHAPE, torch.float32)
    true_error = float(torch.linalg.norm(B - N) / torch.linalg.norm(N))
    error = result.report.grid_error
    assert error.low < true_error < error.high
    assert error.high - error.low < 0.3 * true_error
    assert (error.probes, result.report.applications) == (64, 32 + 8 + 64)
    others = [
        grid_error(operator.normal, result.factors, SHAPE, probes=64, seed=seed)
        for seed in range(1, 41)
    ]
    # of 40 intervals of 95 %, fewer than 34 hold the truth once in 700 times
    assert sum(e.low < true_error < e.high for e in others) >= 34


def test_adam_learns():
    result = fit(tiny_scanner(), method="adam", probes=400, held_out=8, evaluation=16)
    history = result.report.history
    assert history[-1].held_out_error < 0.8 * history[0].held_out_error


def test_an_operator_with_nan_is_refused():
    broken = FunctionOperator(Grid(SHAPE), Grid(SHAPE), lambda x: x * float("nan"), lambda y: y)
    with pytest.raises(ValueError, match="finite"):
        fit(broken, probes=2)
