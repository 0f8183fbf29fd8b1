"""fit: factors of a normal operator, with the error that they have."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from normalfit.adam import AdamOptions, check_adam, fit_adam
from normalfit.devices import resolve_device
from normalfit.direct_factors import check_direct, direct_factors
from normalfit.errors import InputError
from normalfit.fit_report import FitReport
from normalfit.fitted import Fitted
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import check_operator
from normalfit.metrics import patch_error
from normalfit.model import Model
from normalfit.precision import DTYPES
from normalfit.probe_set_error import probe_set_error
from normalfit.probes import collect_responses, default_batch
from normalfit.progress import no_progress
from normalfit.random_patch import half_grid
from normalfit.response_folder import ResponseFolder
from normalfit.training_probes import training_set
from normalfit.warm_start import check_start

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator
    from normalfit.probes import ProbeSet
    from normalfit.progress import Progress

METHODS = ("least-squares", "adam", "direct")
DEFAULT_PROBES = {"least-squares": 128, "adam": 1000, "direct": 0}
COMPUTED = "computed from the operator, nothing fitted"
_DEFAULT_MODELS = {
    "least-squares": "two-sided",
    "adam": "diagonal-circulant",
    "direct": "multicoil",
}
HELD_OUT = 8  # guides the fit; the errors that are reported come from probes of their own
EVALUATION = 16


@dataclass(frozen=True, eq=False)
class FitResult:
    """Fitted factors, and the report on how they were made and how good they are."""

    factors: Factors
    report: FitReport


@torch.no_grad()
def fit(
    operator: LinearOperator,
    *,
    model: Model | str | None = None,
    method: str = "least-squares",
    probes: int | None = None,
    held_out: int = HELD_OUT,
    evaluation: int = EVALUATION,
    start: Factors | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    responses: ResponseFolder | None = None,
    batch: int | None = None,
    options: LeastSquaresOptions | AdamOptions | None = None,
    progress: Progress = no_progress,
    **model_options: Any,  # noqa: ANN401 - checked by Model
) -> FitResult:
    """Fit ``B = Σ_k u_k (h_k ∗ (v_k ·))`` to ``N = A*A`` in the Frobenius norm (paper, 16-18).

    The same seed gives the same factors bit for bit on the same machine and thread count.

    Parameters
    ----------
    operator
        ``A``; only its `normal` and, for the patch error, its `restricted` are used. Costs
        probes + held_out + evaluation applications of ``N``, and `evaluation` restricted ones.
    model
        A `Model`, or the name of one: with `model_options` its other fields (terms, boundary,
        tolerance, lags, windows). None: 'two-sided', for Adam 'diagonal-circulant', and
        'multicoil' for the direct method.
    method
        'least-squares' (alternating, on a fixed set of probes), 'adam' (the paper's, one
        fresh probe per step), or 'direct' (MRI only: from mask or trajectory, nothing fitted).
    probes
        Probes to fit to; None: 128 for least squares, 1,000 for Adam.
    held_out, evaluation
        Probes that guide the fit, and those that the reported errors come from.
    start
        Factors to go on from, of the same model: from fewer probes, or a similar operator.
        Only for least squares.
    seed
        Of everything random.
    device, dtype
        Of probes and factors; a name as for `resolve_device`. dtype None is float32, complex64
        for a complex operator.
    responses
        A folder that keeps the responses on disk; an interrupted fit goes on with them, and
        memory does not grow with the probes. None keeps them in memory.
    batch
        Probes that ``N`` is applied to at once; None: `default_batch`.
    options
        `LeastSquaresOptions` or `AdamOptions`; None: the defaults.

    Raises
    ------
    InputError
        An argument is out of range, or the operator is none or returns values that are not finite.
    """
    check_operator(operator)
    started = time.perf_counter()
    device = resolve_device(device) if isinstance(device, str) else device
    shape = operator.domain.shape
    named = chosen_model(model, method, **model_options)
    if method == "direct":
        check_direct(operator, named)
    if method == "adam":
        check_adam(named)
    wanted = named.suited_to(operator)
    options = _checked_options(method, options, probes, responses)
    count = DEFAULT_PROBES[method] if probes is None else probes
    # before anything is computed: what would be refused after it
    at_once = default_batch(shape) if batch is None else batch
    _check_kinds(seed, dtype, responses)
    fitting = {} if options is None else {"probes": count, "held_out": held_out}
    _check_counts(evaluation=evaluation, batch=at_once, **fitting)
    wanted.lag_grid(shape)
    dtype = operator.probe_dtype if dtype is None else dtype
    if start is not None:
        if method != "least-squares":
            msg = f"start must only be given for least squares, got one for {method}"
            raise InputError(msg)
        check_start(start, wanted, shape, self_adjoint=operator.has_exact_adjoint, dtype=dtype)
    shared: dict[str, Any] = {"seed": seed, "device": device, "dtype": dtype}
    kept: dict[str, Any] = {"folder": responses, "batch": at_once, "progress": progress}

    def collected(number: int, stream: Any) -> ProbeSet:  # noqa: ANN401 - a literal of probes.py
        return collect_responses(operator.normal, shape, number, stream=stream, **shared, **kept)

    how: dict[str, Any] = {"seed": seed, "progress": progress}
    fitted: Fitted
    response_seconds = 0.0
    if options is None:
        factors = direct_factors(check_direct(operator, named), named.terms, dtype)
        fitted = Fitted(factors.to(device), (), COMPUTED, converged=True)
        count = held_out = 0
    else:
        guide = collected(held_out, "held-out")
        response_seconds = time.perf_counter() - started
        if isinstance(options, AdamOptions):
            adam: dict[str, Any] = {"options": options, "folder": responses}
            fitted = fit_adam(operator.normal, guide, wanted, steps=count, **adam, **how)
        else:
            smooth = options.smooth_probes
            training = training_set(operator.normal, shape, count, smooth=smooth, **shared, **kept)
            response_seconds = time.perf_counter() - started
            fitted = fit_least_squares(
                training,
                guide,
                wanted,
                self_adjoint=operator.has_exact_adjoint,
                start=start,
                options=options,
                **how,
            )
    patch_shape = half_grid(shape)
    report = FitReport(
        method=method,
        model=wanted.name,
        terms=fitted.num_terms,
        boundary=fitted.factors.boundary,
        lags=fitted.factors.lags,
        probes=int(count),  # NumPy's whole numbers are no JSON
        held_out=int(held_out),
        seed=int(seed),
        applications=int(count + held_out + evaluation),
        history=fitted.history,
        stop_reason=fitted.stop_reason,
        converged=fitted.converged,
        grid_error=probe_set_error(collected(evaluation, "evaluation"), fitted.factors),
        patch_error=patch_error(operator, fitted.factors, patch_shape, probes=evaluation, **shared),
        patch_shape=patch_shape,
        seconds=time.perf_counter() - started,
        response_seconds=response_seconds,
        options={} if options is None else asdict(options),
    )
    return FitResult(fitted.factors, report)


def chosen_model(
    model: Model | str | None,
    method: str = "least-squares",
    **model_options: Any,  # noqa: ANN401
) -> Model:
    """Return the model that the arguments of `fit` name.

    Raises
    ------
    InputError
        There is no such model or option, or an option beside a `Model`.
    """
    if method not in METHODS:
        msg = f"method must be one of {', '.join(METHODS)}, got {method!r}"
        raise InputError(msg)
    if isinstance(model, Model):
        if model_options:
            msg = f"model options must be the Model's, got {sorted(model_options)} beside it"
            raise InputError(msg)
        return model
    known = {field.name for field in fields(Model)} - {"name"}
    if not set(model_options) <= known:
        msg = f"options must be among {sorted(known)}, got {sorted(set(model_options) - known)}"
        raise InputError(msg)
    return Model(_DEFAULT_MODELS[method] if model is None else model, **model_options)


def _check_kinds(seed: Any, dtype: Any, responses: Any) -> None:  # noqa: ANN401 - checked here
    if not isinstance(seed, Integral):
        msg = f"seed must be a whole number, got {seed!r}"
        raise InputError(msg)
    if dtype is not None and dtype not in DTYPES:
        msg = f"dtype must be torch.float32 or float64, complex64 or complex128, got {dtype!r}"
        raise InputError(msg)
    if responses is not None and not isinstance(responses, ResponseFolder):
        msg = f"responses must be a ResponseFolder, got {responses!r}; make one of the path"
        raise InputError(msg)


def _check_counts(**counts: Any) -> None:  # noqa: ANN401 - checked here
    """Refuse counts that are no whole numbers or too few; errors have intervals from two on."""
    for name, count in counts.items():
        least = {"held_out": 2, "evaluation": 2, "batch": 1, "probes": 1}[name]
        if not isinstance(count, Integral) or count < least:
            msg = f"{name} must be a whole number, at least {least}, got {count}"
            raise InputError(msg)


def _checked_options(
    method: str,
    options: LeastSquaresOptions | AdamOptions | None,
    probes: int | None,
    responses: ResponseFolder | None,
) -> LeastSquaresOptions | AdamOptions | None:
    if method == "direct":
        given = {"options": options, "probes": probes, "responses": responses}
        for name, value in given.items():
            if value is not None:
                msg = f"{name} must be left out of method direct, which fits nothing, got {value}"
                raise InputError(msg)
        return None
    kind = LeastSquaresOptions if method == "least-squares" else AdamOptions
    options = kind() if options is None else options
    if not isinstance(options, kind):
        msg = f"options must be {kind.__name__} for {method}, got {options}"
        raise InputError(msg)
    return options
