"""The kernel step of least squares: all ``h_k`` by preconditioned conjugate gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.conjugate_gradient import conjugate_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from normalfit.conjugate_gradient import CGResult
    from normalfit.lag_grid import LagGrid
    from normalfit.probed_convolution import ProbedConvolution


def expected_gram(grid: LagGrid, u: torch.Tensor, energy: float) -> torch.Tensor:
    """Return what the normal equations of the kernels are for infinitely many probes.

    For white probes different lags decouple, and lag τ meets the voxels n with n-τ on the
    grid: ``gram[k, l, τ] = energy · Σ_n conj(u_k[n]) u_l[n]`` over them, ``(terms, terms,
    *lags)``. Summed in float64: the corners hold one voxel each.
    """
    wide = u.to(torch.complex128 if u.is_complex() else torch.float64)
    ones = torch.ones(grid.shape, dtype=torch.float64, device=u.device)
    products = wide.conj()[:, None] * wide[None, :]
    return (energy * grid.correlate(ones, products)).to(u.dtype)


def solve_kernels(
    convolution: ProbedConvolution,
    responses: Iterable[torch.Tensor],
    u: torch.Tensor,
    start: torch.Tensor,
    ridge: torch.Tensor,
    gram: torch.Tensor,
    *,
    iterations: int,
    tolerance: float,
) -> CGResult:
    """Minimise ``Σ_m |N w_m - Σ_k u_k (h_k ∗ w_m)|² + Σ ridge |h|²`` over the kernels h.

    Parameters
    ----------
    convolution
        Convolution with the probes ``w_m``.
    responses
        ``N w_m``.
    u
        Diagonals ``(terms, *shape)``.
    start, ridge
        Kernels to start from, and the ridge of every entry, both ``(terms, *lags)``.
    gram
        `expected_gram` of these diagonals: the preconditioner. With M probes and full linear
        lags the equations it leaves have a condition near ``((1 + q)/(1 - q))²``,
        ``q² = 2^axes / M`` (Marchenko-Pastur), and less with a ridge.
    iterations, tolerance
        Of `conjugate_gradient`.
    """

    def normal(h: torch.Tensor) -> torch.Tensor:
        images = ((u * f).sum(0) for f in convolution.forward(h))
        return convolution.adjoint(u.conj() * image for image in images) + ridge * h

    right = convolution.adjoint(u.conj() * response for response in responses)
    return conjugate_gradient(
        normal,
        right,
        x0=start if bool(start.any()) else None,
        iterations=iterations,
        tolerance=tolerance,
        precondition=_preconditioner(gram, ridge),
    )


def _preconditioner(
    gram: torch.Tensor, ridge: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    blocks = gram.movedim((0, 1), (-2, -1)) + torch.diag_embed(ridge.movedim(0, -1))
    diagonal = torch.diagonal(blocks, dim1=-2, dim2=-1).real
    # a corner lag meets one voxel, which cannot tell its terms apart; some lags meet none
    precision = torch.finfo(diagonal.dtype)
    floor = (precision.eps**0.5 * diagonal.sum(-1, keepdim=True)).clamp_min(precision.tiny)
    if len(ridge) == 1:
        return lambda residual: residual / (diagonal + floor).movedim(-1, 0)
    inverse = torch.linalg.inv(blocks + torch.diag_embed(floor.expand_as(diagonal)))
    return lambda residual: torch.einsum("...kl,l...->k...", inverse, residual)
