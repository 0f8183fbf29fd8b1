"""Alternation: one sweep of alternating least squares over the terms ``u_k (h_k ∗ x)``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from normalfit.diagonal_step import DiagonalEquations
from normalfit.kernel_step import expected_gram, solve_kernels
from normalfit.probed_convolution import ProbedConvolution
from normalfit.shrinkage import diagonal_ridge, kernel_ridge, lag_shells, new_kernel_ridge
from normalfit.smooth_image import smooth_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.lag_grid import LagGrid
    from normalfit.probes import ProbeSet

_SHARE_LEFT_BY_FIRST = 0.3  # one term leaves 3 to 15 % of the energy, in tomography
_SHARE_LEFT_BY_LATER = 1.0  # a tenth or ten times of it cost one to three sweeps more


@dataclass(frozen=True, eq=False)
class Terms:
    """The unknowns of the fit, and the ridges with which they were found.

    Parameters
    ----------
    u
        Diagonals ``(terms, *shape)``.
    h
        Kernels ``(terms, *lags)``; one that is all zero is new.
    kernel_ridge
        ``(terms, *lags)``.
    diagonal_ridge
        ``(terms,)``.
    """

    u: torch.Tensor
    h: torch.Tensor
    kernel_ridge: torch.Tensor
    diagonal_ridge: torch.Tensor

    @classmethod
    def none(cls, grid: LagGrid, like: torch.Tensor) -> Terms:
        """Return an empty sum, with the dtype and device of `like`."""
        u, h = like.new_zeros((0, *grid.shape)), like.new_zeros((0, *grid.lags))
        return cls(u, h, h.real, like.new_zeros(0).real)

    def __len__(self) -> int:
        return len(self.u)

    def with_new_term(self, generator: torch.Generator) -> Terms:
        """Return the sum with a term more: no kernel yet, and a diagonal to look for one with.

        The first diagonal is one everywhere, as N is close to a convolution; later ones are
        smooth and random, as what that leaves turns slowly over the grid.
        """
        start = smooth_image(self.u.shape[1:], generator).to(self.u)
        start = start if len(self) else torch.ones_like(start)
        ridge = self.kernel_ridge.new_zeros((1, *self.h.shape[1:]))
        share = _SHARE_LEFT_BY_LATER if len(self) else _SHARE_LEFT_BY_FIRST
        ridge.fill_(new_kernel_ridge(ridge.numel(), share))
        return Terms(
            torch.cat([self.u, start[None]]),
            torch.cat([self.h, torch.zeros_like(ridge).to(self.h.dtype)]),
            torch.cat([self.kernel_ridge, ridge]),
            torch.cat([self.diagonal_ridge, self.diagonal_ridge.new_zeros(1)]),
        )

    def normalised(self) -> Terms:
        """Return the same sum with diagonals of mean square one, orthogonal to each other.

        This fixes the freedom to scale and to mix terms, which would leave the steps
        ill-conditioned and the ridges without meaning.
        """
        flat = self.u.flatten(1)
        wide = flat.to(torch.complex128 if flat.is_complex() else torch.float64)
        factor, failed = torch.linalg.cholesky_ex(wide @ wide.mH / wide.shape[1])
        if bool(failed):  # parallel to rounding: nothing to separate
            return self
        L = factor.to(flat.dtype)
        u = torch.linalg.solve_triangular(L, flat, upper=False).reshape(self.u.shape)
        return replace(self, u=u, h=torch.tensordot(L.mT, self.h, 1))


class Alternation:
    """The two steps of the alternation, on one set of probes.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid.
    training
        Probes and responses to fit to.
    ridge_kernel, ridge_u, cg_iterations, cg_tolerance
        As in `LeastSquaresOptions`.
    """

    def __init__(
        self,
        grid: LagGrid,
        training: ProbeSet,
        *,
        ridge_kernel: float,
        ridge_u: float,
        cg_iterations: int,
        cg_tolerance: float,
    ) -> None:
        self._convolution = ProbedConvolution(grid, training.probes)
        self._responses = training.responses
        self._shells = lag_shells(grid).to(training.probes[0].device)
        self._ridge_kernel, self._ridge_u = ridge_kernel, ridge_u
        self._cg_iterations, self._cg_tolerance = cg_iterations, cg_tolerance

    def sweep(self, terms: Terms, noise: float) -> Terms:
        """Return the terms after one kernel step and one diagonal step.

        Parameters
        ----------
        terms
            Where to start.
        noise
            Variance per voxel of what `terms` leaves unexplained on held-out probes.
        """
        return self._diagonal_step(self._kernel_step(terms.normalised(), noise), noise)

    def error(self, terms: Terms) -> float:
        """Return the relative Frobenius error on the training probes."""
        return relative_error(self._convolution, self._responses, terms)

    def _kernel_step(self, terms: Terms, noise: float) -> Terms:
        gram = expected_gram(self._convolution.grid, terms.u, self._convolution.energy)
        known = torch.stack([gram[k, k].real for k in range(len(terms))])
        ridge = kernel_ridge(terms.h, known, terms.kernel_ridge, noise, self._shells)
        ridge = self._ridge_kernel * ridge
        solved = solve_kernels(
            self._convolution,
            self._responses,
            terms.u,
            terms.h,
            ridge,
            gram,
            iterations=self._cg_iterations,
            tolerance=self._cg_tolerance,
        )
        return replace(terms, h=solved.x, kernel_ridge=ridge)

    def _diagonal_step(self, terms: Terms, noise: float) -> Terms:
        equations = DiagonalEquations.collect(self._convolution.forward(terms.h), self._responses)
        ridge = diagonal_ridge(terms.u, equations.information, terms.diagonal_ridge, noise)
        ridge = self._ridge_u * ridge
        return replace(terms, u=equations.solve(ridge), diagonal_ridge=ridge)


def relative_error(
    convolution: ProbedConvolution, responses: torch.Tensor | Sequence[torch.Tensor], terms: Terms
) -> float:
    """Return ``sqrt(Σ|N w - B w|² / Σ|N w|²)`` over the probes of `convolution`."""
    error = total = 0.0
    for features, response in zip(convolution.forward(terms.h), responses, strict=True):
        error += _energy((terms.u * features).sum(0) - response)
        total += _energy(response)
    return math.sqrt(error / total) if total > 0 else 0.0


def _energy(x: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(x)) ** 2
