"""Adam on fresh probes: it approaches what least squares finds, and keeps its best."""

from dataclasses import replace

import pytest
import torch

from normalfit.adam import AdamOptions, fit_adam
from normalfit.dense import best_factors, dense_matrix
from normalfit.errors import InputError
from normalfit.model import Model
from normalfit.probes import collect_responses

SHAPE = (4, 4)
LINEAR = ("linear", "linear")
ONE = Model("diagonal-circulant", terms=1)


def matrix():
    """A blur with weights: close to a diagonal times a convolution, and not equal to one."""
    generator = torch.Generator().manual_seed(0)
    position = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    blur = torch.exp(-(torch.cdist(position, position) ** 2))
    weights = torch.diag(1 + 0.3 * torch.randn(16, generator=generator))
    return blur @ weights @ blur


def normal(scale=1.0):
    return lambda x: scale * (matrix() @ x.flatten()).reshape(SHAPE)


def held_out(scale=1.0):
    return collect_responses(normal(scale), SHAPE, 16, seed=0, stream="held-out")


def error_of(factors):
    B = dense_matrix(factors, SHAPE, torch.float32)
    return float(torch.linalg.norm(B - matrix()) / torch.linalg.norm(matrix()))


def test_it_approaches_the_dense_optimum():
    best = error_of(best_factors(matrix().double(), SHAPE, LINEAR).to(dtype=torch.float32))
    found = fit_adam(normal(), held_out(), ONE, steps=1500, options=AdamOptions(learning_rate=0.01))
    assert error_of(found.factors) < 1.1 * best


def test_it_fits_any_scale_with_one_learning_rate():
    base = fit_adam(normal(), held_out(), ONE, steps=100)
    scaled = fit_adam(normal(1e4), held_out(1e4), ONE, steps=100)
    errors = [fit.history[-1].held_out_error for fit in (base, scaled)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("boundary", ["linear", "periodic"])
def test_its_steps_are_those_of_torchs_plain_adam(monkeypatch, boundary, dtype):
    """The fused update takes gradients as they lie in memory, and reals only."""
    shape, model = (3, 4, 5), Model("diagonal-circulant", boundary, terms=2)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5

    def blur(x):
        return weights * (x + 0.5 * x.roll(1, -1) + 0.25 * x.roll(-1, -3))

    guide = collect_responses(blur, shape, 2, seed=0, stream="held-out", dtype=dtype)
    found = fit_adam(blur, guide, model, steps=60, options=AdamOptions(learning_rate=0.03))
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda p, lr, fused: adam(p, lr=lr, fused=False))
    plain = fit_adam(blur, guide, model, steps=60, options=AdamOptions(learning_rate=0.03))
    errors = [fit.history[-1].held_out_error for fit in (found, plain)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)
    assert errors[0] < 0.7 * found.history[0].held_out_error


def test_it_applies_the_operator_once_a_step_and_never_calls_itself_converged():
    calls = []

    def counted(x):
        calls.append(1)
        return normal()(x)

    found = fit_adam(counted, held_out(), ONE, steps=25, options=AdamOptions(evaluations=5))
    assert len(calls) == 25
    assert [point.applications for point in found.history] == [5, 10, 15, 20, 25]
    assert (found.stop_reason, found.converged) == ("step limit", False)


def test_the_best_factors_are_kept_when_later_steps_diverge():
    """A learning rate far too large: whatever was best is what comes back."""
    guide = held_out()
    found = fit_adam(
        normal(),
        guide,
        ONE,
        steps=40,
        options=AdamOptions(learning_rate=1.0, evaluations=40),
    )
    errors = [point.held_out_error for point in found.history]
    residual = sum(
        float((found.factors(w) - r).square().sum())
        for w, r in zip(guide.probes, guide.responses, strict=True)
    )
    total = sum(float(r.square().sum()) for r in guide.responses)
    assert (residual / total) ** 0.5 == pytest.approx(min(errors), rel=1e-5)
    assert min(errors) < max(errors)


def test_what_was_measured_is_returned_also_where_it_is_worse_than_nothing():
    """The untouched start has no error in the history, so it cannot be the result."""
    options = AdamOptions(learning_rate=100.0, evaluations=1)
    found = fit_adam(normal(), held_out(), ONE, steps=1, options=options)
    assert found.history[0].held_out_error >= 1
    assert found.factors.u is not None
    assert float(found.factors.u.abs().max()) > 2


def test_terms_do_not_stay_equal():
    found = fit_adam(normal(), held_out(), replace(ONE, terms=2), steps=50)
    h = found.factors.kernel.values
    assert found.factors.terms == 2
    assert float((h[0] - h[1]).abs().max()) > 1e-2
    assert h[1].any()
    assert not h.is_complex()


@pytest.mark.parametrize("bad", [{"learning_rate": 0.0}, {"evaluations": 0}], ids=str)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))} must be"):
        AdamOptions(**bad)


def test_no_steps_are_refused():
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        fit_adam(normal(), held_out(), ONE, steps=0)


@pytest.mark.parametrize(
    "model", [Model("two-sided", terms=1), Model("diagonal-circulant", tolerance=0.1)], ids=str
)
def test_other_models_are_refused(model):
    with pytest.raises(InputError, match="model must be diagonal-circulant"):
        fit_adam(normal(), held_out(), model, steps=2)
