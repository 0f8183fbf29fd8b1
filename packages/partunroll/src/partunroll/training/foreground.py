"""ForegroundMap: where a volume is above a threshold, as counts per block, to draw voxels from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normalfit.grid import Patch
from partunroll.errors import InputError
from partunroll.store.data_store_header import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    ReadBlock = Callable[[Patch], np.ndarray]


@dataclass(frozen=True)
class ForegroundVoxel:
    """A voxel above the threshold that has been drawn, but not yet been looked up.

    Parameters
    ----------
    block
        The part of the volume that holds it.
    index
        Its number among the voxels of the block that are above the threshold.
    """

    block: Patch
    index: int


@dataclass(frozen=True, eq=False)
class ForegroundMap:
    """How many voxels of each block of a volume are above a threshold.

    Blocks are the chunks in which volumes are stored, so a drawn voxel is found by reading one
    chunk, which the patch around it needs too. A volume of 512³ has 4096 of them.

    Parameters
    ----------
    shape
        Voxels per axis of the volume.
    threshold
        Voxels whose magnitude is above it count.
    counts
        One per block, int64, in C order.
    """

    shape: tuple[int, ...]
    threshold: float
    counts: np.ndarray

    @staticmethod
    def num_blocks(shape: tuple[int, ...]) -> int:
        """Return how many blocks a volume has."""
        return len(_blocks(shape))

    @classmethod
    def of_volume(
        cls, name: str, shape: tuple[int, ...], threshold: float, read: ReadBlock
    ) -> ForegroundMap:
        """Count the voxels of a volume, reading it block by block.

        Parameters
        ----------
        name
            Of the volume, for messages.
        shape, threshold
            As for the class.
        read
            Returns a part of the volume.

        Raises
        ------
        InputError
            No voxel is above the threshold.
        """
        counts, largest = [], 0.0
        for block in _blocks(shape):
            magnitude = np.abs(read(block))
            counts.append(np.count_nonzero(magnitude > threshold))
            largest = max(largest, float(magnitude.max()))
        if not any(counts):
            msg = (
                f"sampling.threshold must be below the largest value of {name}, {largest:.6g}, "
                f"got {threshold:g}; lower it, or draw without foreground"
            )
            raise InputError(msg)
        return cls(shape, threshold, np.array(counts, np.int64))

    def draw(self, rng: np.random.Generator) -> ForegroundVoxel:
        """Draw uniformly from all voxels above the threshold; nothing is read."""
        ends = np.cumsum(self.counts)
        number = int(rng.integers(ends[-1]))
        block = int(np.searchsorted(ends, number, side="right"))
        index = number - int(ends[block] - self.counts[block])
        return ForegroundVoxel(_blocks(self.shape)[block], index)

    def locate(self, voxel: ForegroundVoxel, read: ReadBlock) -> tuple[int, ...]:
        """Return the coordinates of a drawn voxel in the volume; reads its block."""
        above = np.flatnonzero(np.abs(read(voxel.block)) > self.threshold)
        inside = np.unravel_index(above[voxel.index], voxel.block.shape)
        return tuple(int(o + i) for o, i in zip(voxel.block.offset, inside, strict=True))


def _blocks(shape: tuple[int, ...]) -> tuple[Patch, ...]:
    """Return the blocks of a volume in C order; the last along an axis may be shorter."""
    sides = chunks_of(shape, by_view=False)
    starts = [range(0, n, side) for n, side in zip(shape, sides, strict=True)]
    return tuple(
        Patch(offset, tuple(min(s, n - o) for s, n, o in zip(sides, shape, offset, strict=True)))
        for offset in itertools.product(*starts)
    )
