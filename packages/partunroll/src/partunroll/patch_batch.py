"""PatchBatch: what one training step needs of a batch of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator


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

    def to(self, device: torch.device) -> PatchBatch:
        """Return the batch on another device."""
        return replace(
            self,
            initial_estimate=self.initial_estimate.to(device),
            truth=self.truth.to(device),
            initial_gradient=self.initial_gradient.to(device),
            normal=self.normal.to(device),
        )

    def flipped(self, axes: tuple[int, ...]) -> PatchBatch:
        """Return the mirrored batch: a valid problem, of the mirrored operator.

        Parameters
        ----------
        axes
            Axes of the patches to flip, counted from the last (-1, -2, …).
        """
        return replace(
            self,
            initial_estimate=self.initial_estimate.flip(axes),
            truth=self.truth.flip(axes),
            initial_gradient=self.initial_gradient.flip(axes),
            normal=FlippedNormal(self.normal, axes),
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
class FlippedNormal:
    """A normal operator seen in a mirror: ``F B F``.

    Parameters
    ----------
    normal
        ``B``.
    axes
        Axes that ``F`` flips, counted from the last.
    """

    normal: PatchNormal
    axes: tuple[int, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``."""
        return self.normal(x.flip(self.axes)).flip(self.axes)

    def to(self, device: torch.device) -> FlippedNormal:
        """Return it for tensors on another device."""
        return FlippedNormal(self.normal.to(device), self.axes)
