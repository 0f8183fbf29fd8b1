"""What alternating least squares keeps to: exactness, scale, honesty about its stop."""

import itertools
import math

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.model import Model
from normalfit.probes import ProbeSet, collect_responses

SHAPE = (6, 5)
LINEAR = ("linear", "linear")
ONE = Model("diagonal-circulant", terms=1)
TWO = Model("diagonal-circulant", terms=2)


def true_factors(terms, boundary=LINEAR, dtype=torch.float64):
    """Smooth diagonals and decaying kernels: what a fit can find again exactly."""
    generator = torch.Generator().manual_seed(5)
    lags = [n if end == "periodic" else 2 * n - 1 for n, end in zip(SHAPE, boundary, strict=True)]
    rows, columns = (torch.arange(length) - length // 2 for length in lags)
    decay = 1 / (1 + rows[:, None] ** 2 + columns[None, :] ** 2)
    h = decay * torch.randn(terms, *lags, generator=generator)
    u = 1 + 0.5 * torch.randn(terms, *SHAPE, generator=generator)
    return Factors(LagKernel(h.to(dtype), SHAPE, boundary), u.to(dtype))


# the default tolerance of the conjugate gradients ends fits of exact models at about 1e-3
TO_THE_END = LeastSquaresOptions(
    cg_tolerance=1e-8, cg_iterations=12, min_improvement=1e-6, stage_improvement=1e-4, sweeps=40
)


def fitted(training, held_out, model, **arguments):
    """The true factors of these tests are not self-adjoint."""
    return fit_least_squares(training, held_out, model, self_adjoint=False, **arguments)


def sets(normal, probes=40, dtype=torch.float64):
    shared = {"seed": 0, "dtype": dtype}
    training = collect_responses(normal, SHAPE, probes, stream="training", **shared)
    return training, collect_responses(normal, SHAPE, 8, stream="held-out", **shared)


def relative_error(found, true, dtype=torch.float64):
    B, N = dense_matrix(found, SHAPE, dtype), dense_matrix(true, SHAPE, dtype)
    return float(torch.linalg.norm(B - N) / torch.linalg.norm(N))


@pytest.mark.parametrize(
    "boundary", [LINEAR, ("periodic", "periodic"), ("periodic", "linear")], ids=str
)
def test_one_term_is_found_again(boundary):
    true = true_factors(1, boundary)
    found = fitted(*sets(true), Model("diagonal-circulant", boundary, terms=1), options=TO_THE_END)
    assert relative_error(found.factors, true) < 1e-3
    assert found.factors.boundary == boundary


def test_two_terms_are_found_again():
    true = true_factors(2)
    one = fitted(*sets(true, probes=120), ONE)
    two = fitted(*sets(true, probes=120), TWO)
    assert two.factors.terms == 2
    assert relative_error(one.factors, true) > 0.1
    assert relative_error(two.factors, true) < 0.02


def test_a_voxel_outside_the_field_of_view_stays_finite():
    true = true_factors(1)
    assert true.u is not None
    true.u[:, :2] = 0
    found = fitted(*sets(true), ONE)
    assert relative_error(found.factors, true) < 1e-2


@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_scaling_the_operator_scales_the_factors(scale):
    true = true_factors(2)
    base = fitted(*sets(true, probes=10), ONE)
    scaled = fitted(*sets(true.scaled(scale), probes=10), ONE)
    assert relative_error(scaled.factors, base.factors.scaled(scale)) < 1e-9


def test_ridges_help_where_probes_are_few():
    true = true_factors(2)
    training, held_out = sets(true, probes=4)
    ridged = fitted(training, held_out, ONE)
    free = fit_least_squares(
        training, held_out, ONE, options=LeastSquaresOptions(ridge_kernel=0, ridge_u=0)
    )
    assert relative_error(ridged.factors, true) < 0.9 * relative_error(free.factors, true)


def test_float32_probes_give_float32_factors():
    true = true_factors(1, dtype=torch.float32)
    found = fitted(*sets(true, dtype=torch.float32), ONE, options=TO_THE_END)
    assert found.factors.dtype == torch.float32
    assert found.factors.u is not None
    assert found.factors.u.dtype == torch.float32
    assert relative_error(found.factors, true, torch.float32) < 1e-3


def test_the_best_sweep_is_returned():
    training, held_out = sets(true_factors(2), probes=5)
    found = fitted(training, held_out, ONE)
    error = total = 0.0
    for w, response in zip(held_out.probes, held_out.responses, strict=True):
        error += float((found.factors(w) - response).square().sum())
        total += float(response.square().sum())
    lowest = min(point.held_out_error for point in found.history)
    assert math.sqrt(error / total) == pytest.approx(lowest, rel=1e-6)


def test_terms_grow_one_by_one_and_history_says_so():
    training, held_out = sets(true_factors(2), probes=20)
    found = fitted(training, held_out, Model("diagonal-circulant", terms=3))
    counts = [point.terms for point in found.history]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3}
    assert {point.applications for point in found.history} == {20}
    seconds = [point.seconds for point in found.history]
    assert seconds == sorted(seconds)
    assert all(point.train_error > 0 for point in found.history)


def test_the_sweep_limit_is_kept_and_said():
    training, held_out = sets(true_factors(2))
    limited = fitted(training, held_out, ONE, options=LeastSquaresOptions(sweeps=1))
    assert (limited.converged, limited.stop_reason) == (False, "sweep limit")
    assert len(limited.history) == 1
    free = fitted(training, held_out, ONE)
    assert free.converged
    assert len(free.history) < LeastSquaresOptions().sweeps


@pytest.mark.parametrize(("probes", "learned"), [(4, False), (24, True)])
def test_a_fit_that_learns_nothing_is_not_called_converged(probes, learned):
    """A mask that keeps 2 % of the voxels: four probes say too little about it."""
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(12, 12, 12, generator=generator) < 0.02).float()
    training, held_out = (
        collect_responses(lambda x: mask * x, mask.shape, count, seed=0, stream=stream)
        for count, stream in ((probes, "training"), (8, "held-out"))
    )
    options = LeastSquaresOptions(min_improvement=0.2)  # ends both runs before the sweep limit
    found = fitted(training, held_out, ONE, options=options)
    assert (min(point.held_out_error for point in found.history) < 0.9) == learned
    assert found.converged == learned
    assert ("hardly better than no factors" in found.stop_reason) != learned


def test_progress_counts_every_refinement_from_one():
    seen = []
    training, held_out = sets(true_factors(2), probes=8)
    found = fitted(training, held_out, TWO, progress=lambda *call: seen.append(call[:3]))
    assert len(seen) == len(found.history)
    assert all(1 <= done <= total for _, done, total in seen)
    jumps = [b[1] - a[1] for a, b in itertools.pairwise(seen) if b[1] != 1]
    assert set(jumps) == {1}


@pytest.mark.parametrize(
    "bad",
    [{"ridge_kernel": -1.0}, {"ridge_u": float("nan")}, {"sweeps": 0}, {"patience": 0}],
    ids=str,
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))} must be .* got"):
        LeastSquaresOptions(**bad)


def test_sets_of_different_grids_are_refused():
    training, _ = sets(true_factors(1), probes=2)
    other = ProbeSet([torch.ones(5, 6)], [torch.ones(5, 6)])
    with pytest.raises(InputError, match="held-out probes must have the shape"):
        fitted(training, other, ONE)
