"""The step of the inner diagonals ``v_k`` where N is not self-adjoint: conjugate gradients.

Inside the convolution v has no closed form; but for white probes its voxels decouple, so that
the expected equations are a preconditioner that leaves a condition near one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.diagonal_prior import apply_ridge, diagonal_ridge, mean_ridge
from normalfit.term_values import spread_over_image

if TYPE_CHECKING:
    from normalfit.lag_grid import LagGrid
    from normalfit.probes import ProbeSet
    from normalfit.terms import Terms


def solve_inner_diagonals(
    grid: LagGrid,
    training: ProbeSet,
    terms: Terms,
    *,
    noise: float,
    ridge_factor: float,
    iterations: int,
    tolerance: float,
) -> Terms:
    """Minimise ``Σ_m |N w_m - Σ_k u_k (h_k ∗ (v_k w_m))|² + Σ ridge |F (v - mean)|²`` over v.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid.
    training
        Probes and responses.
    terms
        Where to start; only v changes. The ridge pulls towards the mean of the last v.
    noise
        Variance per voxel that is left unexplained on held-out probes.
    ridge_factor
        Multiplies the ridge that `shrinkage` finds.
    iterations, tolerance
        Of `conjugate_gradient`.
    """
    assert terms.v is not None  # noqa: S101 - the model has one
    half = not terms.h.is_complex()
    spectrum = grid.spectrum(terms.h, half=half)
    u, u_conjugate = terms.u, terms.u.conj().resolve_conj()

    def forward(v: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (u * grid.convolve(v * w, spectrum, half=half)).sum(0)

    def adjoint(image: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return w.conj() * grid.convolve(u_conjugate * image, spectrum.conj(), half=half)

    def normal(v: torch.Tensor) -> torch.Tensor:
        total = apply_ridge(ridge, v)
        for w in training.probes:
            total = total + adjoint(forward(v, w), w)
        return total

    gram = _expected_gram(grid, terms, energy=len(training))
    known = torch.stack([gram[k, k].real for k in range(len(terms))])
    ridge = ridge_factor * diagonal_ridge(terms.v, known, terms.v_ridge, noise)
    mean = spread_over_image(terms.v.flatten(1).mean(1), terms.v).expand_as(terms.v)
    right = apply_ridge(ridge, mean)
    local = mean_ridge(ridge, grid.shape)
    for w, response in zip(training.probes, training.responses, strict=True):
        right = right + adjoint(response, w)
    solved = conjugate_gradient(
        normal,
        right,
        x0=terms.v,
        iterations=iterations,
        tolerance=tolerance,
        precondition=lambda residual: _solve(gram, local, residual),
    )
    return replace(terms, v=solved.x, v_ridge=ridge)


def _expected_gram(grid: LagGrid, terms: Terms, energy: float) -> torch.Tensor:
    """Return ``energy · Σ_n conj(u_k[n] h_k[n-i]) u_l[n] h_l[n-i]``, ``(terms, terms, *shape)``."""
    images = terms.u.conj()[:, None] * terms.u[None, :]
    kernels = terms.h[:, None] * terms.h.conj()[None, :]
    half = not terms.h.is_complex()
    # correlation with conj(h_k) h_l is convolution with the conjugate spectrum
    spectrum = grid.spectrum(kernels, half=half).conj()
    return energy * grid.convolve(images, spectrum, half=half)


def _solve(gram: torch.Tensor, ridge: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    blocks = gram.movedim((0, 1), (-2, -1)) + torch.diag(ridge).to(gram.dtype)
    diagonal = torch.diagonal(blocks, dim1=-2, dim2=-1).real
    precision = torch.finfo(diagonal.dtype)
    floor = (precision.eps**0.5 * diagonal.amax()).clamp_min(precision.tiny)
    blocks = blocks + floor * torch.eye(len(ridge), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(blocks, residual.movedim(0, -1)).movedim(-1, 0)
