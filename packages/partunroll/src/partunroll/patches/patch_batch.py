"""PatchBatch: what one training step needs of a batch of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator
    from partunroll.patches.patch_symmetry import PatchSymmetry


class PatchNormal(Protocol):
    """``B_p`` of a batch of patches: restricted factors or restricted operators."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``."""

    def to(self, device: torch.device) -> PatchNormal:
        """Return it for tensors on another device."""


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """A batch of patches of one operator; gradients are divided by the operator's norm.

    Parameters
    ----------
    step
        The training step that it was drawn for.
    operator
        Name of the operator.
    samples, patches
        Sample and place of every patch.
    initial_estimate, truth, initial_gradient
        ``x0_p``, ``x*_p`` and ``g0``, each ``(batch, *p)``.
    normal
        ``B_p``.
    """

    step: int
    operator: str
    samples: tuple[str, ...]
    patches: tuple[Patch, ...]
    initial_estimate: torch.Tensor
    truth: torch.Tensor
    initial_gradient: torch.Tensor
    normal: PatchNormal

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, PatchNormal]:
        """What the network is called with."""
        return self.initial_estimate, self.initial_gradient, self.normal

    def to(self, device: torch.device) -> PatchBatch:
        """Return the batch on another device."""
        return replace(
            self,
            initial_estimate=self.initial_estimate.to(device),
            truth=self.truth.to(device),
            initial_gradient=self.initial_gradient.to(device),
            normal=self.normal.to(device),
        )

    def transformed(self, symmetry: PatchSymmetry) -> PatchBatch:
        """Return the batch turned and mirrored: a valid problem, of the transformed operator."""
        if symmetry.is_identity:
            return self
        return replace(
            self,
            initial_estimate=symmetry(self.initial_estimate),
            truth=symmetry(self.truth),
            initial_gradient=symmetry(self.initial_gradient),
            normal=TransformedNormal(self.normal, symmetry),
        )


@dataclass(frozen=True, eq=False)
class RestrictedNormals:
    """``P_i N P_iᵀ`` of every patch, by the rays that meet it; divided by the norm (ablation).

    Parameters
    ----------
    operators
        ``A P_iᵀ``, one per patch.
    norm
        Spectral norm of ``N``.
    """

    operators: tuple[LinearOperator, ...]
    norm: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``; costs one restricted forward and adjoint per patch."""
        parts = [operator.normal(part) for operator, part in zip(self.operators, x, strict=True)]
        return torch.stack(parts) / self.norm

    def to(self, device: torch.device) -> RestrictedNormals:  # noqa: ARG002
        """Return itself: operators follow the device of their argument."""
        return self


@dataclass(frozen=True, eq=False)
class ZeroPaddedNormals:
    """The same ``P_i N P_iᵀ``, computed on the whole volume (the form that the paper replaced).

    Parameters
    ----------
    operator
        ``A``.
    patches
        Place of every patch.
    norm
        Spectral norm of ``N``.
    """

    operator: LinearOperator
    patches: tuple[Patch, ...]
    norm: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``; costs one forward and adjoint of A per patch."""
        shape = self.operator.domain.shape
        parts = [
            patch.extract(self.operator.normal(patch.embed(part, shape)))
            for patch, part in zip(self.patches, x, strict=True)
        ]
        return torch.stack(parts) / self.norm

    def to(self, device: torch.device) -> ZeroPaddedNormals:  # noqa: ARG002
        """Return itself: operators follow the device of their argument."""
        return self


@dataclass(frozen=True, eq=False)
class TransformedNormal:
    """A normal operator seen in a mirror, or turned: ``S B Sᵀ``, exactly.

    Factors and exact operators are transformed alike, by exchanging axes of what they are
    applied to: it costs no spectra of turned kernels.

    Parameters
    ----------
    normal
        ``B``.
    symmetry
        ``S``.
    """

    normal: PatchNormal
    symmetry: PatchSymmetry

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``."""
        return self.symmetry(self.normal(self.symmetry.inverse(x)))

    def to(self, device: torch.device) -> TransformedNormal:
        """Return it for tensors on another device."""
        return TransformedNormal(self.normal.to(device), self.symmetry)
