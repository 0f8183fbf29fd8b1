"""The kernel step of least squares: all ``h_k`` by preconditioned conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.shrinkage import kernel_ridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from normalfit.conjugate_gradient import CGResult
    from normalfit.lag_grid import LagGrid
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.probed_terms import ProbedTerms


@dataclass(frozen=True, eq=False)
class KernelStep:
    """What a kernel step found.

    Parameters
    ----------
    kernels
        ``h``, ``(terms, *lags)``.
    ridge
        The ridge that they were found with, as `kernels`.
    information
        What the probes know about each entry: the diagonal of the expected normal equations,
        real, as `kernels`.
    """

    kernels: torch.Tensor
    ridge: torch.Tensor
    information: torch.Tensor


def fit_kernels(
    terms: ProbedTerms,
    responses: Iterable[torch.Tensor],
    last: torch.Tensor,
    last_ridge: torch.Tensor,
    gram: torch.Tensor,
    shells: torch.Tensor,
    *,
    noise: float,
    options: LeastSquaresOptions,
    tie: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> KernelStep:
    """Find the ridge of the kernels, and with it the kernels by `solve_kernels`.

    Parameters
    ----------
    terms, responses, gram, tie
        As for `solve_kernels`.
    last, last_ridge
        The kernels of the last sweep and the ridge that they were found with.
    shells
        Shell of every lag, from `lag_shells`.
    noise
        Variance per voxel that is left unexplained on held-out probes.
    options
        The factor of the ridge, and the conjugate gradients.
    """
    information = torch.stack([gram[k, k].real for k in range(len(last))])
    ridge = options.ridge_kernel * kernel_ridge(last, information, last_ridge, noise, shells)
    solved = solve_kernels(
        terms,
        responses,
        last,
        ridge,
        gram,
        iterations=options.cg_iterations,
        tolerance=options.cg_tolerance,
        tie=tie,
    )
    return KernelStep(solved.x, ridge, information)


def expected_gram(
    grid: LagGrid, u: torch.Tensor, v: torch.Tensor | None, energy: float
) -> torch.Tensor:
    """Return what the normal equations of the kernels are for infinitely many probes.

    For white probes different lags decouple, and lag τ meets the voxels n with n-τ on the
    grid: ``gram[k, l, τ] = energy · Σ_n conj(φ_k) φ_l`` over them, ``(terms, terms, *lags)``,
    with ``φ_k = u_k[n] v_k[n-τ]``. Summed in float64: the corners hold one voxel each.

    Parameters
    ----------
    u, v
        Diagonals ``(terms, *shape)``; v None means ones.
    energy
        Energy of the probes per voxel.
    """
    wide = torch.complex128 if u.is_complex() else torch.float64
    ones = torch.ones(grid.shape, dtype=torch.float64, device=u.device)
    gram = u.new_empty((len(u), len(u), *grid.lags))
    for k in range(len(u)):  # pair by pair: in double precision all at once would not fit
        for other in range(k, len(u)):
            left = u[k].to(wide).conj() * u[other].to(wide)
            # correlate conjugates its first argument
            right = ones if v is None else v[k].to(wide) * v[other].to(wide).conj()
            gram[k, other] = energy * grid.correlate(right, left)
            gram[other, k] = gram[k, other].conj()
    return gram


def solve_kernels(
    terms: ProbedTerms,
    responses: Iterable[torch.Tensor],
    start: torch.Tensor,
    ridge: torch.Tensor,
    gram: torch.Tensor,
    *,
    iterations: int,
    tolerance: float,
    tie: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> CGResult:
    """Minimise ``Σ_m |N w_m - Σ_k u_k (h_k ∗ (v_k w_m))|² + Σ ridge |h|²`` over the kernels h.

    Parameters
    ----------
    terms
        The map from kernels to responses, with its probes and diagonals.
    responses
        ``N w_m`` in the order of its results: twice, if it probes both sides.
    start, ridge
        Kernels to start from, and the ridge of every entry, both ``(terms, *lags)``.
    gram
        `expected_gram` of these diagonals: the preconditioner. With M probes and full linear
        lags the equations it leaves have a condition near ``((1 + q)/(1 - q))²``,
        ``q² = 2^axes / M`` (Marchenko-Pastur), and less with a ridge.
    iterations, tolerance
        Of `conjugate_gradient`.
    tie
        Projection onto the kernels that are looked for, for instance `hermitian`; it must
        leave `ridge` and `gram` as they are. None leaves all free.
    """
    tied = tie or (lambda h: h)

    def normal(h: torch.Tensor) -> torch.Tensor:
        return tied(terms.normal(h)) + ridge * h

    return conjugate_gradient(
        normal,
        tied(terms.adjoint(responses)),
        x0=tied(start) if bool(start.any()) else None,
        iterations=iterations,
        tolerance=tolerance,
        precondition=_preconditioner(gram, ridge),
    )


def _preconditioner(
    gram: torch.Tensor, ridge: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    if len(ridge) == 1:
        diagonal = gram[0].real + ridge
        weight = 1 / (diagonal + _floor(diagonal))
        return lambda residual: residual * weight
    blocks = gram.movedim((0, 1), (-2, -1)) + torch.diag_embed(ridge.movedim(0, -1))
    floor = _floor(torch.diagonal(blocks, dim1=-2, dim2=-1).real.sum(-1, keepdim=True))
    inverse = torch.linalg.inv(
        blocks + torch.diag_embed(floor.expand(*ridge.shape[1:], len(ridge)))
    )
    return lambda residual: torch.einsum("...kl,l...->k...", inverse, residual)


def _floor(diagonal: torch.Tensor) -> torch.Tensor:
    """Return what keeps a lag defined that meets one voxel, or none, and tells no terms apart."""
    precision = torch.finfo(diagonal.dtype)
    return (precision.eps**0.5 * diagonal).clamp_min(precision.tiny)
