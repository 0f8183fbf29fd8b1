"""fit: one call for every operator, with an honest report."""

import json

import numpy as np
import pytest
import torch

from normalfit.adam import AdamOptions
from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import FunctionOperator, LinearOperator
from normalfit.model import Model
from normalfit.operator_check import check

SMALL = {"probes": 6, "held_out": 3, "evaluation": 4}
START = Factors(LagKernel(torch.ones(1, 7, 5), (4, 3), ("linear", "linear")))


class Counted(LinearOperator):
    """A diagonal operator that counts its applications to the whole grid."""

    def __init__(self, shape):
        self.domain = self.range = Grid(shape)
        self.forwards = 0
        size = torch.Size(shape).numel()
        self.weights = torch.linspace(0.5, 1.5, size).reshape(shape)

    def _forward(self, x):
        self.forwards += len(x)
        return self.weights.to(x) * x

    def _adjoint(self, y):
        return self.weights.to(y) * y

    def restricted(self, patch):
        weights = patch.extract(self.weights)
        part = Grid(patch.shape)
        return FunctionOperator(part, part, lambda x: weights * x, lambda y: weights * y)


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("method", ["least-squares", "adam"])
def test_every_number_of_axes_is_fitted(shape, method):
    result = fit(Counted(shape), method=method, **SMALL)
    assert result.factors.shape == shape
    assert result.report.boundary == ("linear",) * len(shape)
    assert result.report.patch_shape == tuple((n + 1) // 2 for n in shape)


@pytest.mark.parametrize("method", ["least-squares", "adam"])
def test_the_report_counts_the_applications(method):
    operator = Counted((5, 4))
    report = fit(operator, method=method, **SMALL).report
    assert report.applications == operator.forwards == 6 + 3 + 4
    assert (report.probes, report.held_out, report.grid_error.probes) == (6, 3, 4)
    assert report.history[-1].applications == 6
    assert report.seconds > report.response_seconds > 0


def test_a_diagonal_operator_is_fitted_exactly():
    operator = Counted((5, 4))
    result = fit(operator)
    N = dense_matrix(operator.normal, (5, 4), torch.float32)
    B = dense_matrix(result.factors, (5, 4), torch.float32)
    assert float(torch.linalg.norm(B - N) / torch.linalg.norm(N)) < 1e-2
    assert result.report.converged


def test_the_report_is_json_and_holds_what_was_asked():
    report = fit(Counted((5, 4)), terms=2, boundary=("periodic", "linear"), seed=9, **SMALL).report
    restored = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert restored["method"] == "least-squares"
    assert (restored["terms"], restored["seed"]) == (2, 9)
    assert restored["boundary"] == ["periodic", "linear"]
    assert set(restored["grid_error"]) == {"value", "low", "high", "probes"}
    assert set(restored["patch_error"]) == {"value", "low", "high", "probes"}
    assert restored["history"][-1]["held_out_error"] == report.history[-1].held_out_error
    assert restored["options"]["ridge_kernel"] == 1.0


def test_one_boundary_stands_for_all_axes():
    every = fit(Counted((4, 3)), boundary="periodic", **SMALL)
    each = fit(Counted((4, 3)), boundary=("periodic", "periodic"), **SMALL)
    assert torch.equal(every.factors.kernel.values, each.factors.kernel.values)


def test_seeds_change_the_probes():
    first, second = (fit(Counted((5, 4)), seed=seed, **SMALL) for seed in (0, 1))
    assert not torch.equal(first.factors.kernel.values, second.factors.kernel.values)


def test_nothing_keeps_a_graph():
    weights = torch.ones(4, requires_grad=True)
    grid = Grid((4,))
    operator = FunctionOperator(grid, grid, lambda x: weights * x, lambda y: weights * y)
    result = fit(operator, **SMALL)
    assert not result.factors.kernel.values.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "newton"}, "got 'newton'"),
        ({"boundary": "open"}, "got 'open'"),
        ({"boundary": ("linear",)}, "once or per axis"),
        ({"terms": 0}, "got 0"),
        ({"model": "dense"}, "model must be one of .* got 'dense'"),
        ({"term": 2}, r"options must be among .* got \['term'\]"),
        ({"model": Model(), "terms": 2}, r"got \['terms'\] beside it"),
        ({"method": "adam", "start": START}, "start must only be given for least squares"),
        ({"start": START}, "start must be of the model two-sided"),
        ({"probes": 0}, "probe"),
        ({"options": AdamOptions()}, "LeastSquaresOptions for least-squares"),
        ({"method": "adam", "options": LeastSquaresOptions()}, "AdamOptions for adam"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        fit(Counted((4, 3)), **{**SMALL, **arguments})


@pytest.mark.parametrize("method", ["least-squares", "adam"])
def test_complex_responses_of_an_operator_that_says_it_is_real_are_refused(method):
    grid = Grid((4,))
    complex_ = FunctionOperator(grid, grid, torch.fft.fft, lambda y: 4 * torch.fft.ifft(y))
    with pytest.raises(InputError, match="must be real for a real probe, got"):
        fit(complex_, method=method, **SMALL)


def test_an_operator_that_sees_nothing_is_refused():
    grid = Grid((4,))
    blind = FunctionOperator(grid, grid, torch.zeros_like, torch.zeros_like)
    with pytest.raises(InputError, match="respond"):
        fit(blind, **SMALL)


def test_whole_numbers_of_numpy_are_taken_and_stored():
    three, counts = np.int64(3), {name: np.int32(count) for name, count in SMALL.items()}
    how = {"terms": np.int8(1), "seed": np.int64(0)}
    report = fit(Counted((5, 4)), lags=three, **how, **counts).report
    expected = fit(Counted((5, 4)), lags=3, terms=1, seed=0, **SMALL).report
    assert report.lags == (3, 3)
    assert report.grid_error == expected.grid_error
    json.dumps(report.as_json())
    local = Model("local", windows=np.array([2, 3]), lags=np.array([3, 5]))
    assert local == Model("local", windows=(2, 3), lags=(3, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lags": 3.0}, "lags must be a whole number, or one per axis, got 3.0"),
        ({"lags": "3,5"}, "lags must be a whole number, or one per axis, got '3,5'"),
        ({"windows": (2, 1.5)}, r"windows must be a whole number, or one per axis, got \(2, 1.5"),
        ({"terms": (2, 2)}, "terms must be one whole number"),
    ],
    ids=str,
)
def test_counts_that_are_no_whole_numbers_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Model("local" if "windows" in options else "two-sided", **options)


@pytest.mark.parametrize("call", [fit, check])
@pytest.mark.parametrize("thing", [np.eye(4), torch.eye(4), abs], ids=["numpy", "torch", "abs"])
def test_what_is_no_operator_is_refused_with_the_remedy(call, thing):
    with pytest.raises(InputError, match=r"must be a LinearOperator, .*; .*as_operator"):
        call(thing)


@pytest.mark.parametrize("method", ["least-squares", "adam"])
@pytest.mark.parametrize(
    ("name", "wrong", "least"),
    [
        ("probes", 0, 1), ("probes", 4.5, 1), ("held_out", 1, 2), ("evaluation", 1, 2),
        ("evaluation", 0, 2), ("batch", 0, 1),
    ],
)  # fmt: skip
def test_too_small_counts_are_refused_before_anything_is_computed(method, name, wrong, least):
    operator = Counted((5, 4))
    message = f"^{name} must be a whole number, at least {least}, got {wrong}$"
    with pytest.raises(InputError, match=message):
        fit(operator, method=method, **SMALL | {name: wrong})
    assert operator.forwards == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dtype", "float32", "dtype must be torch.float32 or .* got 'float32'"),
        ("dtype", torch.float16, r"dtype must be torch.float32 or .* got torch\.float16"),
        ("responses", "folder", "responses must be a ResponseFolder, got 'folder'"),
        ("seed", 1.5, "seed must be a whole number, got 1.5"),
        ("seed", "a", "seed must be a whole number, got 'a'"),
        ("boundary", 5, "boundary must be 'periodic' or 'linear'"),
        ("tolerance", "0.1", "tolerance must be zero or more, got '0.1'"),
        ("device", "gpu", "device must be 'auto', 'cpu', .* got 'gpu'"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused(name, value, said):
    with pytest.raises(InputError, match=said):
        fit(Counted((5, 4)), **{name: value})


@pytest.mark.parametrize("options", [{"model": "two-sided"}, {"tolerance": 0.1}])
def test_adam_is_refused_before_anything_is_computed(options):
    operator = Counted((5, 4))
    with pytest.raises(InputError, match="model must be diagonal-circulant"):
        fit(operator, method="adam", **options)
    assert operator.forwards == 0
