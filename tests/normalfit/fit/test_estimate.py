"""Error estimates: their intervals cover, and they print with their uncertainty."""

import json
import math

import numpy as np
import pytest
from scipy.special import stdtrit

from normalfit.errors import InputError
from normalfit.estimate import Estimate, relative_error_estimate

REPEATS = 1000


FREQUENCY = np.arange(1, 65, dtype=float)
CASES = {  # squared singular values of N, and the relative error of B at each
    "tomography": (1 / FREQUENCY, np.full(64, 0.3) + 0.2 * (FREQUENCY > 8)),
    "some directions much worse": (np.ones(64), np.r_[np.ones(4), np.full(60, 0.1)]),
    "flat": (np.ones(64), np.linspace(0, 1, 64)),
}


@pytest.mark.parametrize("probes", [16, 32])
@pytest.mark.parametrize("case", CASES)
def test_the_interval_covers_the_true_error(case, probes):
    """``|N w|² = Σ s² w²`` for Gaussian w; 1,000 repeats have a standard deviation of 0.7 %."""
    squared, relative = CASES[case]
    true = math.sqrt((squared * relative**2).sum() / squared.sum())
    energies = np.random.default_rng(0).standard_normal((REPEATS, probes, 64)) ** 2 * squared
    covered = 0
    for sample in energies:
        estimate = relative_error_estimate((sample * relative**2).sum(1), sample.sum(1))
        covered += estimate.low <= true <= estimate.high
    assert 0.93 <= covered / REPEATS <= 0.97


def test_more_probes_narrow_the_interval():
    rng = np.random.default_rng(1)
    b = rng.chisquare(20, 400)
    a = 0.04 * b * rng.uniform(0.5, 1.5, 400)
    few, many = relative_error_estimate(a[:20], b[:20]), relative_error_estimate(a, b)
    assert many.probes == 400
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(math.sqrt(20), rel=0.4)


def test_scaling_the_operator_changes_nothing():
    a, b = [1.0, 2.0, 1.5], [10.0, 11.0, 9.0]
    base = relative_error_estimate(a, b)
    scaled = relative_error_estimate([1e6 * x for x in a], [1e6 * x for x in b])
    assert scaled.low == pytest.approx(base.low, rel=1e-12)
    assert scaled.high == pytest.approx(base.high, rel=1e-12)


def test_an_exact_approximation_has_no_uncertainty():
    estimate = relative_error_estimate([0.0] * 3, [1.0, 2.0, 3.0])
    assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_one_probe_that_holds_nearly_everything_widens_the_interval():
    even = relative_error_estimate([1.0, 1.1, 0.9], [4.0, 4.0, 4.0])
    uneven = relative_error_estimate([1.0, 1e-3, 1e-4], [4.0, 2e-4, 2e-3])
    assert math.isfinite(uneven.high)
    assert uneven.high / uneven.low > even.high / even.low


@pytest.mark.parametrize(
    ("errors", "references", "message"),
    [
        ([1.0], [2.0], "at least two"),
        ([0.0, 0.0], [0.0, 0.0], "got 0 of 2"),
        ([1.0, 0.0], [4.0, 0.0], "got 1 of 2"),
    ],
)
def test_nothing_to_estimate_from_is_refused(errors, references, message):
    with pytest.raises(InputError, match=message):
        relative_error_estimate(errors, references)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.1923, 0.1892, 0.1954, 32), "0.192 ± 0.003 (95 %, 32 probes)"),
        (Estimate(0.1923, 0.1803, 0.2043, 16), "0.192 ± 0.012 (95 %, 16 probes)"),
        (Estimate(1.23, 0.83, 1.63, 8), "1.2 ± 0.4 (95 %, 8 probes)"),
        (Estimate(0.55, 0.0012, 265.0, 2), "0.55 (0.0012 … 2.6e+02, 95 %, 2 probes)"),
        (Estimate(0.0, 0.0, 0.0, 4), "0 (95 %, 4 probes)"),
    ],
)
def test_the_text_shows_the_figures_that_count(estimate, text):
    assert str(estimate) == text


def test_json_holds_the_four_fields():
    estimate = relative_error_estimate(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    restored = json.loads(json.dumps(estimate.as_json()))
    assert Estimate(**restored) == estimate


def test_the_interval_is_that_of_the_matrices_it_is_derived_from():
    """HC3 residuals ``M (a - r b)``, and freedom ``tr(S)² / |S|²`` of ``S = R diag(b) Rᵀ``."""
    draw = np.random.default_rng(3)
    b = draw.chisquare(3, 12)
    a = 0.1 * b * draw.uniform(0.2, 2, 12)
    leverage = b / b.sum()
    maker = (np.eye(12) - leverage[:, None]) / (1 - leverage)[:, None]
    spread = maker @ np.diag(b) @ maker.T
    freedom = np.trace(spread) ** 2 / (spread**2).sum()
    half = stdtrit(freedom, 0.975) * np.linalg.norm(maker @ a) / b.sum() / (2 * a.sum() / b.sum())
    estimate = relative_error_estimate(a, b)
    assert math.log(estimate.high / estimate.value) == pytest.approx(half, rel=1e-9)


def test_memory_does_not_grow_with_the_square_of_the_probes():
    a = np.full(10**6, 0.5)
    assert relative_error_estimate(a, np.ones(10**6)).value == pytest.approx(math.sqrt(0.5))
