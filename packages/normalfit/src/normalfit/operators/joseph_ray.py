"""The rays of a cone-beam scan and the planes of a box they cross: what Joseph's kernels share.

A Joseph projector marches along the axis on which a ray is steepest, plane by plane, and
interpolates between the neighbouring voxels of each plane (Joseph, IEEE Trans. Med. Imaging
1(3), 1982). Every weight is computed from the full geometry, never from the box or the window
at hand, so that a restricted operator has bitwise the weights of the whole one. fastmath stays
off for the same reason: it would let the compiler round differently from loop to loop.

numba's cache watches only the file of a kernel: after an edit here, empty ``__pycache__``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from numba import njit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Ranges of planes and rows are widened by this many voxels, and every voxel is then checked by
# its integer index: rounding at the end of a range cannot drop a voxel.
RIM = 0.01


class ConeRays(NamedTuple):
    """The rays of a scan through the whole grid, as the kernels take them.

    Shapes are int64 arrays: numba's parallel loops take no tuples inside of tuples.

    Attributes
    ----------
    vectors
        ``(views, 12)``, mm: the vectors of the geometry.
    detector_shape
        ``(rows, columns)`` of the whole detector.
    window_offsets
        First ``(row, column)`` of the window of each view, ``(views, 2)``.
    window_shape
        ``(rows, columns)`` of every window.
    shape
        ``(nx, ny, nz)`` of the whole grid.
    voxel_mm
        Side of a voxel.
    """

    vectors: NDArray[np.float64]
    detector_shape: NDArray[np.int64]
    window_offsets: NDArray[np.int64]
    window_shape: NDArray[np.int64]
    shape: NDArray[np.int64]
    voxel_mm: float


@njit(cache=True)
def source_of(rays: ConeRays, view: int) -> tuple[float, float, float]:
    """Return the source xyz in voxel indices of the whole grid."""
    vectors, voxel_mm = rays.vectors, rays.voxel_mm
    nx, ny, nz = rays.shape
    return (
        vectors[view, 0] / voxel_mm + 0.5 * (nx - 1),
        vectors[view, 1] / voxel_mm + 0.5 * (ny - 1),
        vectors[view, 2] / voxel_mm + 0.5 * (nz - 1),
    )


@njit(cache=True)
def direction_of(rays: ConeRays, view: int, row: int, column: int) -> tuple[float, float, float]:
    """Return the vector xyz, in voxels, from the source to a pixel of the whole detector."""
    vectors, voxel_mm = rays.vectors, rays.voxel_mm
    rows, columns = rays.detector_shape
    r, c = row - 0.5 * (rows - 1), column - 0.5 * (columns - 1)
    x = vectors[view, 3] + c * vectors[view, 6] + r * vectors[view, 9] - vectors[view, 0]
    y = vectors[view, 4] + c * vectors[view, 7] + r * vectors[view, 10] - vectors[view, 1]
    z = vectors[view, 5] + c * vectors[view, 8] + r * vectors[view, 11] - vectors[view, 2]
    return x / voxel_mm, y / voxel_mm, z / voxel_mm


@njit(cache=True)
def planes_ahead(source: float, direction: float, offset: int, count: int) -> tuple[float, float]:
    """Return the range of planes ``offset … offset + count - 1`` that lie before the source."""
    low, high = float(offset), float(offset + count - 1)
    if direction > 0:
        return max(low, source), high
    return low, min(high, source)


@njit(cache=True)
def clip(
    low: float, high: float, intercept: float, slope: float, offset: int, count: int
) -> tuple[float, float]:
    """Shrink a range of k to where ``intercept + slope k`` meets voxels of a box.

    The box has `count` voxels from `offset` on; interpolation reaches one voxel beyond it.
    ``range(ceil(low), floor(high) + 1)`` is empty where nothing is left.
    """
    below, above = offset - 1 - RIM, offset + count + RIM
    if abs(slope) < 1e-9:  # moves by less than RIM over any grid
        return (low, high) if below < intercept < above else (1.0, 0.0)
    first, last = (below - intercept) / slope, (above - intercept) / slope
    return max(low, min(first, last)), min(high, max(first, last))


@njit(cache=True)
def path_of_column(
    rays: ConeRays, view: int, column: int
) -> tuple[bool, float, float, float, float]:
    """Path of a window's column in the x-y plane: ``cross = intercept + slope · main``.

    Returns whether the main axis is x, source and direction along it, slope and intercept.
    """
    sx, sy, _ = source_of(rays, view)
    dx, dy, _ = direction_of(rays, view, 0, rays.window_offsets[view, 1] + column)
    if abs(dx) >= abs(dy):
        return True, sx, dx, dy / dx, sy - sx * (dy / dx)
    return False, sy, dy, dx / dy, sx - sy * (dx / dy)


@njit(cache=True)
def neighbours(position: float, offset: int, count: int) -> tuple[int, int, float, float]:
    """Two neighbours of a position in the box, and their weights: zero outside the box."""
    index = math.floor(position)
    weight = position - index
    near, far = index - offset, index + 1 - offset
    w_near = 1 - weight if 0 <= near < count else 0.0
    w_far = weight if 0 <= far < count else 0.0
    return min(max(near, 0), count - 1), min(max(far, 0), count - 1), w_near, w_far
