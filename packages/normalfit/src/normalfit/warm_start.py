"""check_start: whether factors can be gone on from by a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.windows import lattice_windows

if TYPE_CHECKING:
    from normalfit.model import Model

_ONE_SIDED = ("diagonal-circulant", "local")


def check_start(
    start: object,
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
        They are no factors, carry batch axes, have another grid, other lags, another number of
        terms or another form than the model, or are complex where the probes are real.
    """
    if not isinstance(start, Factors):
        msg = f"start must be Factors, got {type(start).__name__}; a result has them as .factors"
        raise InputError(msg)
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
    for array in (start.kernel.values, start.u, start.v):
        if array is not None and array.ndim != len(shape) + 1:
            return "have no batch axes", f"an array of shape {tuple(array.shape)}"
    if (start.v is None) != (model.name in _ONE_SIDED):
        return f"be of the model {model.name}", "none" if start.v is None else "factors with a v"
    if start.is_complex and not dtype.is_complex:
        return "be real as the probes are", str(start.dtype)
    fixed = model.name in ("local", "multicoil", "symmetric")
    most = model.most_terms(shape)
    if start.terms > most or (fixed and start.terms != most):
        return f"have {'' if fixed else 'at most '}{most} terms", str(start.terms)
    if model.name == "multicoil" and start.kernel.terms != 1:
        return "have one kernel for all coils", f"{start.kernel.terms} kernels"
    if model.name == "local" and not _is_windowed(start, model.window_counts(shape)):
        return "have diagonals d w_k with the windows of the fit", "others"
    tied = start.v is not None and (self_adjoint or fixed)
    if tied and not _is_tied(start):
        return "have u = conj(v), as A*A is self-adjoint", "diagonals that differ"
    return None


def _is_windowed(factors: Factors, counts: tuple[int, ...]) -> bool:
    """Return whether diagonals are one image times the windows, which sum to one."""
    if factors.u is None:
        return False
    windows = lattice_windows(factors.shape, counts).to(factors.u)
    expected = windows * factors.u.sum(0)
    return torch.allclose(factors.u, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def _is_tied(factors: Factors) -> bool:
    return (
        factors.u is not None
        and factors.v is not None
        and torch.equal(factors.u, factors.v.conj().resolve_conj())
    )
