"""proximal_direction: the data step that solves instead of stepping (paper, remark 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def proximal_direction(
    normal: Callable[[torch.Tensor], torch.Tensor],
    gradient: torch.Tensor,
    step_size: torch.Tensor,
    iterations: int,
) -> torch.Tensor:
    """Return about ``(I + η B)⁻¹ g`` by conjugate gradients; differentiable.

    So ``x − η d`` is the proximal step ``argmin_u f(u) + |u − x|² / 2η`` of the data term f, whose
    gradient at x is g and whose Hessian is B. Without iterations ``d = g``: a gradient step.

    Parameters
    ----------
    normal
        ``B``, self-adjoint and positive, on a batch.
    gradient
        ``g``, ``(batch, *p)``; every entry of the batch is a problem of its own.
    step_size
        η, positive.
    iterations
        Applications of ``B``.
    """
    if not iterations:
        return gradient
    d = torch.zeros_like(gradient)
    r = p = gradient
    rho = _inner(r, r)
    floor = torch.finfo(rho.dtype).tiny
    for _ in range(iterations):
        q = p + step_size * normal(p)
        alpha = rho / _inner(p, q).clamp_min(floor)  # a residual of zero stays zero
        d = d + alpha * p
        r = r - alpha * q
        previous, rho = rho, _inner(r, r)
        p = r + rho / previous.clamp_min(floor) * p
    return d


def _inner(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the real inner product of every entry of a batch, with axes of one to broadcast."""
    product = (x.conj() * y).real if x.is_complex() else x * y
    return product.flatten(1).sum(1).reshape(-1, *[1] * (x.ndim - 1))
