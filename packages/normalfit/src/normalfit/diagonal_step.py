"""The diagonal step of least squares: every voxel's ``u_k`` in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


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
        weight = ridge + floor
        right = right + weight * mean
        if single:  # a division, not a batch of factorisations
            return (right / (gram[..., 0] + weight)).movedim(-1, 0)
        return torch.linalg.solve(gram + torch.diag(weight), right).movedim(-1, 0).contiguous()
