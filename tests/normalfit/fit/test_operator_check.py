"""check: it passes sound operators and names what is wrong with others."""

import json

import pytest
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator
from normalfit.operator_check import check

GRID = Grid((4, 5))
WEIGHTS = torch.linspace(0.5, 1.5, 20, dtype=torch.float64).reshape(4, 5)
DOUBLE = "adjointness in float64"
DEVIATION = {torch.float32: 1e-6, torch.float64: 2e-9}


def weigh(x):
    return WEIGHTS.to(x.dtype) * x


def operator(forward=weigh, adjoint=weigh):
    return FunctionOperator(GRID, GRID, forward, adjoint)


class WrongPatch(FunctionOperator):
    def restricted(self, patch):
        part = Grid(patch.shape)
        return FunctionOperator(part, part, lambda x: 2 * x, lambda y: 2 * y)


def test_a_sound_operator_passes():
    report = check(operator())
    assert report.failures == ()
    assert report.norm.value == pytest.approx(1.5**2, rel=1e-3)
    assert (report.domain, report.range) == ((4, 5), (4, 5))
    assert str(report).endswith("passed")


@pytest.mark.parametrize(
    ("broken", "failure"),
    [
        (operator(adjoint=lambda y: 1.01 * weigh(y)), "adjointness in float32"),
        (operator(adjoint=lambda y: weigh(y) * (1 + DEVIATION[y.dtype])), DOUBLE),
        (operator(adjoint=lambda y: weigh(y) * (1 + (y.dtype == torch.float64))), DOUBLE),
        (operator(forward=lambda x: weigh(x) + 1), "linearity"),
        (operator(forward=lambda x: weigh(x).abs()), "linearity"),
        (WrongPatch(GRID, GRID, weigh, weigh), "restriction"),
    ],
    ids=["scaled adjoint", "double", "only double", "affine", "absolute value", "wrong patch"],
)
def test_a_broken_operator_is_named(broken, failure):
    report = check(broken)
    assert any(text.startswith(failure) for text in report.failures)
    assert "failed: " in str(report)
    assert report.as_json()["passed"] is False


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (operator(forward=lambda x: x[:, :4]), r"forward must return shape \(\.\.\., 4, 5\)"),
        (operator(adjoint=lambda y: y[:3]), r"adjoint must return shape .*got \(1, 3, 5\)"),
        (operator(forward=lambda x: x @ x), "forward must return a tensor, got RuntimeError: "),
        (operator(torch.fft.fft2, torch.fft.ifft2), r"A x must be real .* set is_complex"),
        (operator(adjoint=lambda y: 1j * y), r"A\*A x must be real .* set is_complex"),
    ],
    ids=["forward shape", "adjoint shape", "raises", "complex", "complex adjoint"],
)
def test_an_operator_that_cannot_be_measured_is_refused(broken, problem):
    with pytest.raises(InputError, match=problem):
        check(broken)


def test_a_pair_that_says_it_is_not_exact_is_reported_not_judged():
    pair = operator(adjoint=lambda y: 1.01 * weigh(y))
    pair.has_exact_adjoint = False
    report = check(pair)
    assert report.failures == ()
    assert report.adjointness_float32 > 1e-5
    assert "no exact adjoint" in str(report)


def in_single_precision(x):
    return weigh(x.float()).to(x.dtype) / 3


@pytest.mark.parametrize(
    ("direction", "double"),
    [
        (in_single_precision, True),
        (lambda x: torch.linspace(0.5, 1.5, 5) * x / 3, True),  # float32 weights, promoted
        (lambda x: torch.mm(torch.diag(torch.linspace(0.5, 1.5, 4)), x), False),
    ],
    ids=["rounds to single", "single weights", "refuses double"],
)
def test_a_sound_operator_in_single_precision_passes(direction, double):
    report = check(operator(direction, direction))
    assert report.failures == ()
    assert (report.adjointness_float64 is not None) == double
    assert ("refused in float64" in str(report)) != double
    json.dumps(report.as_json(), allow_nan=False)


def test_single_precision_does_not_excuse_a_wrong_adjoint():
    pair = operator(in_single_precision, lambda y: 1.01 * in_single_precision(y))
    assert [text.split(" must")[0] for text in check(pair).failures] == [
        "adjointness in float32",
        "adjointness in float64",
    ]


def test_the_report_is_json():
    restored = json.loads(json.dumps(check(operator()).as_json(), allow_nan=False))
    assert restored["passed"] is True
    assert restored["norm"]["converged"] is True
    assert restored["failures"] == []
