"""check_start: whether factors can be gone on from by a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.model import Model

_ONE_SIDED = ("diagonal-circulant", "local")


def check_start(
    start: Factors,
    model: Model,
    shape: tuple[int, ...],
    *,
    self_adjoint: bool,
    dtype: torch.dtype,
) -> None:
    """Refuse factors that a fit cannot go on from, before anything is computed.

    Parameters
    ----------
    start
        The factors.
    model
        What is to be fitted on a grid of `shape`.
    self_adjoint
        Whether ``N`` is, so that two-sided terms are tied.
    dtype
        Of the probes.

    Raises
    ------
    InputError
        They have another grid, other lags, another number of terms or another form than the
        model, or are complex where the probes are real.
    """
    problem = _problem(start, model, shape, self_adjoint=self_adjoint, dtype=dtype)
    if problem is not None:
        requirement, got = problem
        msg = f"start must {requirement}, got {got}; fit without it"
        raise InputError(msg)


def _problem(
    start: Factors,
    model: Model,
    shape: tuple[int, ...],
    *,
    self_adjoint: bool,
    dtype: torch.dtype,
) -> tuple[str, str] | None:
    grid = model.lag_grid(shape)
    if start.kernel.grid != grid:
        return f"have the lags of the fit, {grid}", str(start.kernel.grid)
    if (start.v is None) != (model.name in _ONE_SIDED):
        return f"be of the model {model.name}", "none" if start.v is None else "factors with a v"
    if start.is_complex and not dtype.is_complex:
        return "be real as the probes are", str(start.dtype)
    fixed = model.name in ("local", "multicoil", "symmetric")
    most = model.most_terms(shape) if fixed else model.terms
    if most is not None and (start.terms > most or (fixed and start.terms != most)):
        return f"have {'' if fixed else 'at most '}{most} terms", str(start.terms)
    if model.name == "multicoil" and start.kernel.terms != 1:
        return "have one kernel for all coils", f"{start.kernel.terms} kernels"
    tied = start.v is not None and (self_adjoint or fixed)
    if tied and not _is_tied(start):
        return "have u = conj(v), as A*A is self-adjoint", "diagonals that differ"
    return None


def _is_tied(factors: Factors) -> bool:
    return (
        factors.u is not None
        and factors.v is not None
        and torch.equal(factors.u, factors.v.conj().resolve_conj())
    )
