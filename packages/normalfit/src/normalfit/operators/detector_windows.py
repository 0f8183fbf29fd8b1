"""DetectorWindows: the pixels of each view that the rays through a patch can reach."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from types import EllipsisType

    from numpy.typing import NDArray

    from normalfit.grid import Grid, Patch

# Joseph's interpolation reaches one voxel beyond a patch; the rest is room for float32 rounding.
FOOTPRINT_VOXELS = 1.02


@dataclass(frozen=True, eq=False)
class DetectorWindows:
    """One window per view, all of one shape.

    Parameters
    ----------
    offsets
        First pixel per view and detector axis, shape ``(views, detector axes)``, int64.
    shape
        Number of pixels per detector axis, the same in every view.
    """

    offsets: NDArray[np.int64]
    shape: tuple[int, ...]

    @classmethod
    def whole(cls, num_views: int, detector_shape: tuple[int, ...]) -> DetectorWindows:
        """Return the windows that are the whole detector."""
        return cls(np.zeros((num_views, len(detector_shape)), np.int64), detector_shape)

    @classmethod
    def around(
        cls,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        detector_shape: tuple[int, ...],
    ) -> DetectorWindows:
        """Return the smallest windows of one shape that hold a box of pixels per view.

        Parameters
        ----------
        low, high
            Corners of the boxes in fractional pixels, shape ``(views, detector axes)``. Parts
            outside the detector are dropped, so a window may hold pixels of no interest.
        detector_shape
            Number of pixels per detector axis.
        """
        limit = np.array(detector_shape, np.float64)
        first = np.clip(np.floor(low), 0, limit - 1).astype(np.int64)
        last = np.clip(np.ceil(high), 0, limit - 1).astype(np.int64)
        shape = (last - first).max(axis=0) + 1
        offsets = np.minimum(first, np.array(detector_shape) - shape)
        return cls(offsets, tuple(int(n) for n in shape))

    def extract(self, y: torch.Tensor) -> torch.Tensor:
        """Return the windows ``(..., views, *shape)`` of ``(..., views, *detector)``."""
        lead = y.ndim - len(self.shape) - 1
        parts = [y.select(lead, view)[s] for view, s in enumerate(self._slices())]
        return torch.stack(parts, dim=lead)

    def embed(self, y: torch.Tensor, detector_shape: tuple[int, ...]) -> torch.Tensor:
        """Return ``(..., views, *detector_shape)``, zero outside the windows `y`."""
        lead = y.ndim - len(self.shape)
        full = y.new_zeros((*y.shape[:lead], *detector_shape))
        for view, s in enumerate(self._slices()):
            full.select(lead - 1, view)[s] = y.select(lead - 1, view)
        return full

    def add_to(self, full: torch.Tensor, y: torch.Tensor) -> None:
        """Add the windows `y` to measurements ``(..., views, *detector)``, in place."""
        lead = y.ndim - len(self.shape) - 1
        for view, s in enumerate(self._slices()):
            full.select(lead, view)[s] += y.select(lead, view)

    def _slices(self) -> list[tuple[EllipsisType | slice, ...]]:
        return [
            (..., *(slice(int(o), int(o) + n) for o, n in zip(offset, self.shape, strict=True)))
            for offset in self.offsets
        ]


def footprint_corners_mm(grid: Grid, patch: Patch) -> NDArray[np.float64]:
    """Return the corners ``(2^axes, axes)`` of the box in which a patch can be seen.

    Positions are in the axes of the grid, from its centre. The box is the patch's voxel centres
    and one voxel around them.
    """
    voxel_mm = np.array(grid.voxel_mm)
    first = np.array(patch.offset) - (np.array(grid.shape) - 1) / 2
    low = (first - FOOTPRINT_VOXELS) * voxel_mm
    high = (first + np.array(patch.shape) - 1 + FOOTPRINT_VOXELS) * voxel_mm
    return np.array(list(itertools.product(*np.stack([low, high], axis=1))))
