"""RayTerm and OperatorTerm: how far a field is from the measurements, on some rays or on all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from partunroll.implicit.line_integrals import line_integrals
from partunroll.implicit.rendering import render
from partunroll.implicit.total_variation import field_variation, volume_variation

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator
    from partunroll.implicit.neural_field import NeuralField
    from partunroll.implicit.scan_rays import ScanRays

_VARIATION_POINTS = 4096  # per step; our choice


@dataclass(frozen=True, eq=False)
class RayTerm:
    """``mean |A f − y|² / mean |y|² + λ TV(f)`` over random rays and random points.

    Parameters
    ----------
    rays
        Those of the scan.
    y
        Measurements, ``(*range)``, in units in which the field is of about unit range.
    batch
        Rays per step, drawn from all; those that miss the volume cost nothing.
    step
        Longest step along a ray, in voxels.
    tv_weight
        λ, with the field's differences over one voxel.
    generator
        Of rays, samples and points.
    """

    rays: ScanRays
    y: torch.Tensor
    batch: int
    step: float
    tv_weight: float
    generator: torch.Generator

    def __call__(self, field: NeuralField) -> torch.Tensor:
        """Return the loss of one step."""
        drawn = torch.randint(self.y.numel(), (self.batch,), generator=self.generator)
        drawn = drawn.to(self.y.device)
        integrals = line_integrals(field.at, self.rays.batch(drawn), self.step, self.generator)
        difference = integrals - self.y.reshape(-1)[drawn]
        loss = difference.square().mean() / self.y.square().mean()
        if self.tv_weight == 0:
            return loss
        grid, points = self.rays.grid, _VARIATION_POINTS
        return loss + self.tv_weight * field_variation(field, grid, points, self.generator)


@dataclass(frozen=True, eq=False)
class OperatorTerm:
    """``‖A f − y‖² / ‖y‖² + λ TV(f)`` of the rendered volume: one A and one A* per step.

    Parameters
    ----------
    operator
        ``A``; a complex one takes two channels of the field as real and imaginary part.
    y
        As for `RayTerm`.
    tv_weight
        As for `RayTerm`.
    """

    operator: LinearOperator
    y: torch.Tensor
    tv_weight: float

    def __call__(self, field: NeuralField) -> torch.Tensor:
        """Return the loss of one step."""
        values = render(field, self.operator.domain)
        difference = self.operator.forward(as_volume(values)) - self.y
        loss = difference.abs().square().sum() / self.y.abs().square().sum()
        if self.tv_weight == 0:
            return loss
        return loss + self.tv_weight * volume_variation(values)


def as_volume(values: torch.Tensor) -> torch.Tensor:
    """Return ``(*grid, channels)`` as a real volume, or of two channels as a complex one."""
    return values[..., 0] if values.shape[-1] == 1 else torch.view_as_complex(values)
