"""The diagonal step of least squares: every voxel's ``u_k`` in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.shrinkage import diagonal_ridge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from normalfit.probes import ProbeSet


@dataclass(frozen=True, eq=False)
class DiagonalStep:
    """What a diagonal step found.

    Parameters
    ----------
    image
        ``u``, ``(terms, *shape)``.
    ridge
        The ridge that it was found with, ``(terms,)``.
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
    """Minimise ``Σ_m |N w_m - Σ_k u_k f_k|² + Σ ridge |u - mean|²`` over u.

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
        predicted = torch.einsum("kl...,l...->k...", self.gram, u)
        gain = u.conj() * (2 * self.right - predicted)
        return float(gain.real.sum(dtype=torch.float64))

    def solve(self, ridge: torch.Tensor) -> torch.Tensor:
        """Return ``u``, ``(terms, *shape)``, with a ridge ``(terms,)`` towards its mean.

        The mean is the best ``u`` that is the same at every voxel.
        """
        gram = self.gram.movedim((0, 1), (-2, -1))
        right = self.right.movedim(0, -1)
        axes = tuple(range(gram.ndim - 2))
        mean = torch.linalg.lstsq(gram.sum(axes), right.sum(axes)[:, None]).solution[:, 0]
        # keeps voxels defined where no feature is ever seen, or two terms show the same one
        eps, information = torch.finfo(ridge.dtype).eps, self.information.flatten(1)
        single = len(ridge) == 1
        floor = eps * information.mean(1) if single else 64 * eps * information.amax(1)
        floor = torch.where(floor > 0, floor, eps * information.amax())  # a term without kernel
        weight = ridge + floor
        right = right + weight * mean
        if single:  # a division, not a batch of factorisations
            return (right / (gram[..., 0] + weight)).movedim(-1, 0)
        return torch.linalg.solve(gram + torch.diag(weight), right).movedim(-1, 0).contiguous()
