"""conjugate_gradient: solve ``N x = b`` for a self-adjoint positive semi-definite map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from normalfit.energy import energy
from normalfit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

StopReason = Literal["tolerance reached", "iteration limit", "no positive curvature"]


@dataclass(frozen=True, eq=False)
class CGResult:
    """What conjugate gradients reached.

    Parameters
    ----------
    x
        The last iterate.
    iterations
        Applications of ``N``, not counting the one that a start other than zero costs.
    residual_norms
        ``|b - N x|`` at the start and after every iteration, as the recurrence has it.
    stop_reason
        'no positive curvature' means that ``N`` is not positive definite along a direction
        that was searched, or that rounding has used up all directions.
    """

    x: torch.Tensor
    iterations: int
    residual_norms: tuple[float, ...]
    stop_reason: StopReason


def conjugate_gradient(
    normal: Callable[[torch.Tensor], torch.Tensor],
    b: torch.Tensor,
    *,
    x0: torch.Tensor | None = None,
    iterations: int,
    tolerance: float,
    precondition: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> CGResult:
    """Solve ``N x = b`` by (preconditioned) conjugate gradients.

    The whole tensor is one vector: there is no batch axis. That `normal` and `precondition`
    are self-adjoint and positive is assumed and not checked.

    Parameters
    ----------
    normal
        ``x -> N x``.
    b
        Right-hand side, of any shape.
    x0
        Start; None means zero.
    iterations
        At most this many.
    tolerance
        Stop once ``|b - N x| <= tolerance |b|``.
    precondition
        An approximation of ``N⁻¹``.

    Raises
    ------
    InputError
        `iterations` or `tolerance` is negative; ``b`` or ``b - N x0`` holds NaN or infinity;
        ``N x`` has another dtype than `b`.
    """
    if iterations < 0 or not tolerance >= 0:
        msg = (
            "iterations and tolerance must be zero or more, "
            f"got iterations {iterations}, tolerance {tolerance}"
        )
        raise InputError(msg)
    precondition = precondition or (lambda residual: residual)
    r = b if x0 is None else b - normal(x0)
    _check_dtype(r, b)
    goal, norms = tolerance * _norm(b), [_norm(r)]
    if not (math.isfinite(goal) and math.isfinite(norms[0])):
        msg = f"b - N x0 must be finite, got a norm of {norms[0]} and of b {_norm(b)}"
        raise InputError(msg)
    # squares of float32 overflow from 2e19 on, and vanish below 1e-23
    scale = _power_of_two(r)
    r = r / scale
    x = torch.zeros_like(r)
    z = precondition(r)
    p, rho = z, _inner(r, z)
    reason: StopReason = "iteration limit"
    while norms[-1] > goal and len(norms) <= iterations:
        q = normal(p)
        _check_dtype(q, p)
        curvature = _inner(p, q)
        if not curvature > 0:
            reason = "no positive curvature"
            break
        alpha = rho / curvature
        x = x + alpha * p
        r = r - alpha * q
        z = precondition(r)
        previous, rho = rho, _inner(r, z)
        p = z + rho / previous * p
        norms.append(_norm(r) * scale)
    if norms[-1] <= goal:
        reason = "tolerance reached"
    x = x * scale if x0 is None else x0 + x * scale
    return CGResult(x, len(norms) - 1, tuple(norms), reason)


def _check_dtype(result: torch.Tensor, x: torch.Tensor) -> None:
    if result.dtype != x.dtype:
        msg = f"N x must have the dtype of b, {x.dtype}, got {result.dtype}; convert b"
        raise InputError(msg)


def _inner(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.vdot(x.flatten(), y.flatten()).real)


def _norm(x: torch.Tensor) -> float:
    return math.sqrt(energy(x))


def _power_of_two(x: torch.Tensor) -> float:
    """Return one near the largest entry, which changes no digit of the others; 1 for zeros."""
    largest = float(x.abs().max()) if x.numel() else 0.0
    return 2.0 ** max(-126, math.floor(math.log2(largest))) if largest > 0 else 1.0
