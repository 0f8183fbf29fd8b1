"""PatchBatch: what one training step needs of a batch of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from partunroll.patches.patch_normals import transformed_normal

if TYPE_CHECKING:
    import torch

    from normalfit.grid import Patch
    from partunroll.patches.patch_normals import PatchNormal
    from partunroll.patches.patch_symmetry import PatchSymmetry


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
            normal=transformed_normal(self.normal, symmetry),
        )
