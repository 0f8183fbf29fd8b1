"""render: a field as a volume, slab by slab.  field_of_view: the voxels that rays meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from normalfit.operators.projection_operator import ProjectionOperator
    from partunroll.implicit.neural_field import NeuralField

SLAB_VOXELS = 2**18  # some 200 MB of features and weights at a time; our choice


def render(field: NeuralField, grid: Grid, *, slab_voxels: int = SLAB_VOXELS) -> torch.Tensor:
    """Return the values of a field at the centres of all voxels, ``(*grid, channels)``.

    Where the volume has several slabs, the backward pass evaluates each again instead of keeping
    what the forward pass made of it.

    Parameters
    ----------
    field
        The field.
    grid
        The volume's.
    slab_voxels
        Most voxels that are worked on at a time, of whole planes.
    """
    device = field.encoding.table.device
    plane = max(1, grid.num_samples // grid.shape[0])
    planes = max(1, slab_voxels // plane)
    slabs = []
    for first in range(0, grid.shape[0], planes):
        positions = _centres(grid, first, min(first + planes, grid.shape[0]), device)
        if torch.is_grad_enabled() and planes < grid.shape[0]:
            slabs.append(checkpoint(field.at, positions, use_reentrant=False))
        else:
            slabs.append(field.at(positions))
    return torch.cat(slabs).reshape(*grid.shape, -1)


@torch.no_grad()
def field_of_view(operator: ProjectionOperator, device: torch.device) -> torch.Tensor:
    """Return which voxels at least one ray meets, ``(*domain)``; costs one application of A*."""
    return operator.adjoint(torch.ones(operator.range.shape, device=device)) > 0


def _centres(grid: Grid, first: int, stop: int, device: torch.device) -> torch.Tensor:
    axes = [torch.arange(first, stop), *(torch.arange(n) for n in grid.shape[1:])]
    return torch.cartesian_prod(*axes).reshape(-1, grid.num_axes).to(device, torch.float32)
