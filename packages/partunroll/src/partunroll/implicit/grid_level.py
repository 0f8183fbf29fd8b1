"""GridLevel: a lattice of nodes over a volume.  hash_levels, dense_level: what encodings have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def corners(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row and the weight of every corner of the cells that hold positions.

        Parameters
        ----------
        positions
            ``(points, axes)``, in voxels; those outside of the box are moved onto its faces.

        Returns
        -------
        tuple of Tensor
            Rows, int64, and weights, both ``(points, 2^axes)``; the last axis turns first.
        """
        rows: Tensor | None = None
        weights: Tensor | None = None
        for axis, (spacing, count) in enumerate(zip(self.spacing, self.nodes, strict=True)):
            place = ((positions[:, axis] + 0.5) / spacing).clamp(0, count - 1)
            low = place.floor().clamp_max(count - 2)
            share = place - low
            cell = low.long()
            rows = self._with_axis(rows, axis, torch.stack([cell, cell + 1], dim=1))
            sides = torch.stack([1 - share, share], dim=1)
            weights = sides if weights is None else _each_with_each(torch.mul, weights, sides)
        assert rows is not None  # noqa: S101 - there is an axis
        assert weights is not None  # noqa: S101
        return rows if self.is_dense else rows & (self.table_size - 1), weights

    def _with_axis(self, rows: Tensor | None, axis: int, nodes: Tensor) -> Tensor:
        """Return what one more axis makes of rows: ``(points, 2^axis)`` times two."""
        if self.is_dense:
            return (
                nodes
                if rows is None
                else _each_with_each(torch.add, rows * self.nodes[axis], nodes)
            )
        hashed = nodes * _PRIMES[axis]
        return hashed if rows is None else _each_with_each(torch.bitwise_xor, rows, hashed)


def _each_with_each(
    combine: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor
) -> Tensor:
    """Return ``(points, a · b)`` of ``(points, a)`` and ``(points, b)``."""
    return combine(left[:, :, None], right[:, None, :]).flatten(1)


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
        How many times more cells the next level has; None: what gives the last level of several
        a cell per voxel along the longest side. A single level has the coarsest cells.
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
