"""GridLevel: a lattice of nodes over a volume.  hash_levels and dense_level: those of an encoding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from normalfit.grid import Grid

# Müller et al. 2022, eq. (4)
_PRIMES = (1, 2_654_435_761, 805_459_861)


@dataclass(frozen=True)
class GridLevel:
    """Nodes over the box of a volume, the first in its lower corner.

    Positions are in voxels: the centre of a voxel is at its index, the box reaches from −½ to
    n − ½.

    Parameters
    ----------
    spacing
        Voxels between neighbouring nodes, per axis.
    nodes
        Nodes per axis.
    table_size
        Rows of the level's table, a power of two where there are fewer rows than nodes: then
        the nodes share them by a hash.
    """

    spacing: tuple[float, ...]
    nodes: tuple[int, ...]
    table_size: int

    @property
    def is_dense(self) -> bool:
        """Whether every node has a row of its own."""
        return math.prod(self.nodes) <= self.table_size

    def rows(self, nodes: Tensor) -> Tensor:
        """Return the row of every node, int64, for nodes ``(..., axes)``."""
        row = torch.zeros_like(nodes[..., 0])
        if self.is_dense:
            for axis, count in enumerate(self.nodes):
                row = row * count + nodes[..., axis]
            return row
        for axis in range(len(self.nodes)):
            row = row ^ (nodes[..., axis] * _PRIMES[axis])
        return row & (self.table_size - 1)

    def corners(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row and the weight of every corner of the cells that hold positions.

        Parameters
        ----------
        positions
            ``(points, axes)``, in voxels; those outside of the box are moved onto its faces.

        Returns
        -------
        tuple of Tensor
            Rows, int64, and weights, both ``(points, 2^axes)``.
        """
        spacing = positions.new_tensor(self.spacing)
        last = positions.new_tensor(self.nodes) - 1
        place = ((positions + 0.5) / spacing).clamp_min(0).minimum(last)
        low = place.floor().minimum(last - 1)
        share = place - low
        cell = low.long()
        axes = len(self.nodes)
        offsets = torch.cartesian_prod(*[torch.arange(2, device=cell.device)] * axes)
        rows = self.rows(cell[:, None] + offsets)
        weights = torch.where(offsets.bool(), share[:, None], 1 - share[:, None]).prod(-1)
        return rows, weights


def hash_levels(
    grid: Grid,
    *,
    levels: int,
    coarsest: int,
    growth: float | None,
    table_size_log2: int,
) -> tuple[GridLevel, ...]:
    """Return the levels of a multiresolution hash grid (Müller et al. 2022, section 3).

    Parameters
    ----------
    grid
        The volume's.
    levels
        Number of levels.
    coarsest
        Cells of the first level along the longest side; cells are cubes.
    growth
        How many times more cells the next level has; None: what gives the last level a cell
        per voxel along the longest side.
    table_size_log2
        Binary logarithm of the rows of a level; a level of fewer nodes is dense.
    """
    sides = [n * side for n, side in zip(grid.shape, _sides_mm(grid), strict=True)]
    longest = max(sides)
    voxels = grid.shape[sides.index(longest)]
    if growth is None:
        growth = (max(voxels, coarsest) / coarsest) ** (1 / max(1, levels - 1))
    # the rounding of a power must not take a cell from the last level
    counts = [math.floor(coarsest * growth**level + 1e-6) for level in range(levels)]
    return tuple(
        _level(
            grid,
            tuple(longest / (count * side) for side in _sides_mm(grid)),
            2**table_size_log2,
        )
        for count in counts
    )


def dense_level(grid: Grid, spacing: float) -> GridLevel:
    """Return one level in which every node has its own row, `spacing` voxels apart."""
    return _level(grid, (spacing,) * grid.num_axes, None)


def _level(grid: Grid, spacing: tuple[float, ...], largest: int | None) -> GridLevel:
    nodes = tuple(
        max(1, math.ceil(n / step - 1e-9)) + 1 for n, step in zip(grid.shape, spacing, strict=True)
    )
    count = math.prod(nodes)
    return GridLevel(spacing, nodes, count if largest is None else min(largest, count))


def _sides_mm(grid: Grid) -> tuple[float, ...]:
    return grid.voxel_mm or (1.0,) * grid.num_axes
