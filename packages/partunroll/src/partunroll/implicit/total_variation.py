"""Total variation of a rendered volume, and of a field at random places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from partunroll.implicit.neural_field import NeuralField

_SQUARED_ROUNDING = 1e-8  # keeps the slope finite where nothing varies; values are of unit range


def volume_variation(values: torch.Tensor) -> torch.Tensor:
    """Return the mean length of the differences to the next voxels, of ``(*grid, channels)``.

    All channels are one vector; the difference across the last face of an axis counts as zero.
    """
    squared = torch.zeros_like(values)
    for axis in range(values.ndim - 1):
        difference = values.diff(dim=axis)
        rim = torch.zeros_like(values.narrow(axis, 0, 1))
        squared = squared + torch.cat([difference, rim], dim=axis).square()
    return (squared.sum(-1) + _SQUARED_ROUNDING).sqrt().mean()


def field_variation(
    field: NeuralField, grid: Grid, points: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the mean length of the differences over one voxel, at random points of the box.

    Costs ``1 + axes`` values of the field per point.
    """
    device = field.encoding.table.device
    shape = torch.tensor(grid.shape, dtype=torch.float32)
    places = torch.rand(points, len(shape), generator=generator) * (shape - 1).clamp_min(1) - 0.5
    ahead = torch.eye(len(shape))[shape > 1]  # an axis of one voxel has no next one
    shifted = torch.cat([places[None], places + ahead[:, None]]).to(device)
    values = field.at(shifted.reshape(-1, len(shape))).reshape(len(ahead) + 1, points, -1)
    squared = (values[1:] - values[0]).square().sum((0, -1))
    return (squared + _SQUARED_ROUNDING).sqrt().mean()
