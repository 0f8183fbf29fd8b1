"""fit: factors of a normal operator, with the error that they have."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from normalfit.adam import AdamOptions, fit_adam
from normalfit.errors import InputError
from normalfit.fit_report import FitReport
from normalfit.least_squares import LeastSquaresOptions, fit_least_squares
from normalfit.metrics import grid_error, patch_error
from normalfit.probes import collect_responses
from normalfit.progress import no_progress
from normalfit.random_patch import half_grid

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.fitted import Fitted
    from normalfit.lag_grid import Boundary
    from normalfit.linear_operator import LinearOperator
    from normalfit.probes import ProbeSet
    from normalfit.progress import Progress

METHODS = ("least-squares", "adam")
DEFAULT_PROBES = {"least-squares": 32, "adam": 1000}
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
    boundary: str | tuple[str, ...] = "linear",
    method: str = "least-squares",
    terms: int = 1,
    probes: int | None = None,
    held_out: int = HELD_OUT,
    evaluation: int = EVALUATION,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    options: LeastSquaresOptions | AdamOptions | None = None,
    progress: Progress = no_progress,
) -> FitResult:
    """Fit ``B = Σ_k u_k (h_k ∗ ·)`` to ``N = A*A`` in the Frobenius norm (paper, eqs. 16-18).

    The same seed gives the same factors bit for bit on the same machine and thread count.

    Parameters
    ----------
    operator
        ``A``; only its `normal` and, for the patch error, its `restricted` are used. Costs
        probes + held_out + evaluation applications of ``N``, and `evaluation` restricted ones.
    boundary
        'periodic' or 'linear', for all axes or one per axis.
    method
        'least-squares' (alternating, on a fixed set of probes) or 'adam' (the paper's, one
        fresh probe per step).
    terms
        Number K of terms.
    probes
        Probes to fit to; None: 32 for least squares, 1,000 for Adam.
    held_out, evaluation
        Probes that guide the fit, and those that the reported errors come from.
    seed
        Of everything random.
    device, dtype
        Of probes and factors; the dtype is real.
    options
        `LeastSquaresOptions` or `AdamOptions`; None: the defaults.

    Raises
    ------
    InputError
        An argument is out of range, or the operator returns values that are not finite.
    """
    started = time.perf_counter()
    shape, ends = operator.domain.shape, _boundaries(boundary, operator.domain.num_axes)
    options = _checked_options(method, options)
    count = DEFAULT_PROBES[method] if probes is None else probes
    shared: dict[str, Any] = {"seed": seed, "device": device, "dtype": dtype}

    def responses(number: int, stream: Any) -> ProbeSet:  # noqa: ANN401 - a literal of probes.py
        return collect_responses(
            operator.normal, shape, number, stream=stream, progress=progress, **shared
        )

    guide = responses(held_out, "held-out")
    training = responses(count, "training") if method == "least-squares" else None
    response_seconds = time.perf_counter() - started
    model: dict[str, Any] = {"terms": terms, "seed": seed, "progress": progress}
    fitted: Fitted
    if isinstance(options, AdamOptions) or training is None:
        adam = options if isinstance(options, AdamOptions) else None
        fitted = fit_adam(operator.normal, guide, ends, steps=count, options=adam, **model)
    else:
        fitted = fit_least_squares(training, guide, ends, options=options, **model)
    patch_shape = half_grid(shape)
    measured: dict[str, Any] = {"probes": evaluation, **shared}
    report = FitReport(
        method=method,
        terms=terms,
        boundary=ends,
        probes=count,
        held_out=held_out,
        seed=seed,
        applications=count + held_out + evaluation,
        history=fitted.history,
        stop_reason=fitted.stop_reason,
        converged=fitted.converged,
        grid_error=grid_error(operator.normal, fitted.factors, shape, **measured),
        patch_error=patch_error(operator, fitted.factors, patch_shape, **measured),
        patch_shape=patch_shape,
        seconds=time.perf_counter() - started,
        response_seconds=response_seconds,
        options=asdict(options),
    )
    return FitResult(fitted.factors, report)


def _boundaries(boundary: str | tuple[str, ...], num_axes: int) -> tuple[Boundary, ...]:
    ends = (boundary,) * num_axes if isinstance(boundary, str) else tuple(boundary)
    if len(ends) != num_axes or not all(end in ("periodic", "linear") for end in ends):
        msg = f"boundary must be 'periodic' or 'linear', once or per axis, got {boundary!r}"
        raise InputError(msg)
    return ends  # type: ignore[return-value] # checked above


def _checked_options(
    method: str, options: LeastSquaresOptions | AdamOptions | None
) -> LeastSquaresOptions | AdamOptions:
    if method not in METHODS:
        msg = f"method must be one of {', '.join(METHODS)}, got {method!r}"
        raise InputError(msg)
    kind = LeastSquaresOptions if method == "least-squares" else AdamOptions
    options = kind() if options is None else options
    if not isinstance(options, kind):
        msg = f"options must be {kind.__name__} for {method}, got {options}"
        raise InputError(msg)
    return options
