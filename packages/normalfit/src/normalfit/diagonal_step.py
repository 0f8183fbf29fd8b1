"""The diagonal step of least squares: ``u_k`` from the equations of every voxel and a prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.diagonal_prior import apply_ridge, diagonal_ridge, mean_ridge, whitened_inverse
from normalfit.term_values import spread_over_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from normalfit.probes import ProbeSet


_ITERATIONS, _TOLERANCE = 50, 1e-6  # of FFTs of the grid: far less than a pass over the probes


@dataclass(frozen=True, eq=False)
class DiagonalStep:
    """What a diagonal step found.

    Parameters
    ----------
    image
        ``u``, ``(terms, *shape)``.
    ridge
        The ridge that it was found with, ``(terms, shells)``.
    error
        The relative Frobenius error that it leaves on the probes.
    """

    image: torch.Tensor
    ridge: torch.Tensor
    error: float


def fit_diagonals(
    features: Iterable[torch.Tensor],
    training: ProbeSet,
    last: torch.Tensor,
    last_ridge: torch.Tensor,
    *,
    noise: float,
    ridge_factor: float,
) -> DiagonalStep:
    """Minimise ``Σ_m |N w_m - Σ_k u_k f_k|² + Σ ridge |F (u - mean)|²`` over u.

    F is the unitary Fourier transform, and the ridge that of `diagonal_prior`.

    Parameters
    ----------
    features
        ``f_k`` of every probe, ``(terms, *shape)``.
    training
        The responses.
    last, last_ridge
        The diagonals of the last sweep and the ridge that they were found with.
    noise
        Variance per voxel that is left unexplained on held-out probes.
    ridge_factor
        Multiplies the ridge that `shrinkage` finds.
    """
    equations = DiagonalEquations.collect(features, training.responses)
    ridge = ridge_factor * diagonal_ridge(last, equations.information, last_ridge, noise)
    image = equations.solve(ridge)
    total = training.response_energy * len(training) * image[0].numel()
    left = max(0.0, total - equations.explained_by(image))
    return DiagonalStep(image, ridge, math.sqrt(left / total))


@dataclass(frozen=True, eq=False)
class DiagonalEquations:
    """The normal equations ``gram u = right`` of every voxel.

    Parameters
    ----------
    gram
        ``Σ_m conj(f_k) f_l``, ``(terms, terms, *shape)``, with the features
        ``f_k = h_k ∗ w_m``.
    right
        ``Σ_m conj(f_k) N w_m``, ``(terms, *shape)``.
    """

    gram: torch.Tensor
    right: torch.Tensor

    @classmethod
    def collect(
        cls, features: Iterable[torch.Tensor], responses: Iterable[torch.Tensor]
    ) -> DiagonalEquations:
        """Sum over the probes: `features` ``(terms, *shape)`` and `responses` ``(*shape)``."""
        gram: torch.Tensor | None = None
        right: torch.Tensor | None = None
        for f, response in zip(features, responses, strict=True):
            if gram is None or right is None:
                gram, right = f.new_zeros((len(f), *f.shape)), torch.zeros_like(f)
            for k, conjugate in enumerate(f.conj()):
                gram[k].addcmul_(conjugate, f)
            right.addcmul_(f.conj(), response)
        assert gram is not None  # noqa: S101 - a probe set is never empty
        assert right is not None  # noqa: S101
        return cls(gram, right)

    @property
    def information(self) -> torch.Tensor:
        """Diagonal of `gram`, real, ``(terms, *shape)``."""
        return torch.stack([self.gram[k, k].real for k in range(len(self.gram))])

    def explained_by(self, u: torch.Tensor) -> float:
        """Return by how much `u` lowers ``Σ_m |N w_m - Σ_k u_k f_k|²`` below that of zero."""
        gain = u.conj() * (2 * self.right - self._product(u))
        return float(gain.real.sum(dtype=torch.float64))

    def solve(self, ridge: torch.Tensor) -> torch.Tensor:
        """Return ``u``, ``(terms, *shape)``, with a ridge ``(terms, shells)`` towards its mean.

        The mean is the best ``u`` that is the same at every voxel. In closed form where a
        ridge is the same for all frequencies, else from there by conjugate gradients.
        """
        gram = self.gram.movedim((0, 1), (-2, -1))
        axes = tuple(range(gram.ndim - 2))
        right = self.right.movedim(0, -1).sum(axes)
        mean = torch.linalg.lstsq(gram.sum(axes), right[:, None]).solution[:, 0]
        mean = spread_over_image(mean, self.right).expand_as(self.right)
        # keeps voxels defined where no feature is ever seen, or two terms show the same one
        eps, information = torch.finfo(ridge.dtype).eps, self.information
        flat = information.flatten(1)
        floor = eps * flat.mean(1) if len(ridge) == 1 else 64 * eps * flat.amax(1)
        floor = torch.where(floor > 0, floor, eps * flat.amax())  # a term without kernel
        ridge = ridge + floor[:, None]
        right = self.right - self._product(mean)
        start = self._divided(right, mean_ridge(ridge, tuple(mean.shape[1:])))
        if bool((ridge == ridge[:, :1]).all()):
            return mean + start
        solved = conjugate_gradient(
            lambda x: self._product(x) + apply_ridge(ridge, x),
            right,
            x0=start,
            iterations=_ITERATIONS,
            tolerance=_TOLERANCE,
            precondition=whitened_inverse(ridge, information, half=not right.is_complex()),
        )
        return mean + solved.x

    def _product(self, u: torch.Tensor) -> torch.Tensor:
        return torch.einsum("kl...,l...->k...", self.gram, u)

    def _divided(self, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return ``(gram + weight)⁻¹ right`` at every voxel, with a weight ``(terms,)``."""
        if len(weight) == 1:  # a division, not a batch of factorisations
            return right / (self.gram[0] + weight)
        gram = self.gram.movedim((0, 1), (-2, -1)) + torch.diag(weight)
        return torch.linalg.solve(gram, right.movedim(0, -1)).movedim(-1, 0).contiguous()
