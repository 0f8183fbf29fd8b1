"""Joseph's parallel-beam projector of a plane, for many planes at once.

Volume and projections hold the planes on their last axis: every ray of the plane is computed
once, and the inner loop runs over the planes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange

from normalfit.operators.joseph_ray import clip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Real = NDArray[Any]  # float32 or float64
    Index = tuple[int, ...]


class ParallelRays(NamedTuple):
    """The rays of a scan through the whole plane, as the kernels take them.

    Attributes
    ----------
    directions
        ``(views, 2)``: sine and cosine of every angle. Rays run along ``(sin, -cos)``, columns
        are counted along ``(cos, sin)``.
    axis_column
        Column that sees the axis of rotation.
    column_voxels
        Width of a column, in voxels.
    first_columns
        First column of the window of each view.
    shape
        ``(ny, nx)`` of the whole plane, int64.
    voxel_mm
        Side of a voxel.
    """

    directions: NDArray[np.float64]
    axis_column: float
    column_voxels: float
    first_columns: NDArray[np.int64]
    shape: NDArray[np.int64]
    voxel_mm: float


def project(planes: Real, rays: ParallelRays, offset: Index, num_columns: int) -> Real:
    """Return the windows ``(views, columns, planes)`` of the projections of a box of the plane.

    Parameters
    ----------
    planes
        The box ``(y, x, planes)``, float32 or float64; the plane is zero outside.
    rays
        The scan and its windows.
    offset
        First voxel ``(y, x)`` of the box.
    num_columns
        Number of columns of a window.
    """
    windows = np.zeros((len(rays.directions), num_columns, planes.shape[2]), planes.dtype)
    _project(np.ascontiguousarray(planes), rays, offset, windows)
    return windows


def backproject(windows: Real, rays: ParallelRays, offset: Index, shape: Index) -> Real:
    """Return the box ``(y, x, planes)`` of the backprojection: the adjoint of `project`.

    Bitwise the same for any number of threads.

    Parameters
    ----------
    windows
        ``(views, columns, planes)``.
    rays
        The scan and its windows.
    offset, shape
        First voxel and shape ``(y, x)`` of the box.
    """
    planes = np.zeros((*shape, windows.shape[2]), windows.dtype)
    num_slabs = min(shape[0], get_num_threads())
    _backproject(np.ascontiguousarray(windows), rays, offset, planes, num_slabs)
    return planes


@njit(cache=True, parallel=True)
def _project(planes: Real, rays: ParallelRays, offset: Index, windows: Real) -> None:
    views, columns, _ = windows.shape
    for ray in prange(views * columns):
        view = ray // columns
        column = ray - view * columns
        _project_ray(planes, rays, offset, view, column, windows[view, column])


@njit(cache=True, parallel=True)
def _backproject(
    windows: Real, rays: ParallelRays, offset: Index, planes: Real, num_slabs: int
) -> None:
    for slab in prange(num_slabs):  # a slab is a box that no other task writes to
        first = slab * planes.shape[0] // num_slabs
        last = (slab + 1) * planes.shape[0] // num_slabs
        _backproject_box(windows, rays, (offset[0] + first, offset[1]), planes[first:last])


@njit(cache=True)
def _project_ray(
    planes: Real, rays: ParallelRays, offset: Index, view: int, column: int, out: Real
) -> None:
    real = planes.dtype.type
    box = (planes.shape[0], planes.shape[1])
    main, cross, low, high, slope, intercept = _march(rays, offset, box, view, column)
    for k in range(math.ceil(low), math.floor(high) + 1):
        position = intercept + slope * k
        near = math.floor(position)
        for i, weight in ((near, 1 - (position - near)), (near + 1, position - near)):
            if 0 <= i - offset[cross] < box[cross]:
                y, x = (k, i) if main == 0 else (i, k)
                _add(out, real(weight), planes[y - offset[0], x - offset[1]])
    mm = real(math.sqrt(1 + slope * slope) * rays.voxel_mm)
    for plane in range(out.size):
        out[plane] *= mm


@njit(cache=True)
def _backproject_box(windows: Real, rays: ParallelRays, offset: Index, planes: Real) -> None:
    real = planes.dtype.type
    box = (planes.shape[0], planes.shape[1])
    views, columns, _ = windows.shape
    for ray in range(views * columns):
        view, column = ray // columns, ray % columns
        main, cross, low, high, slope, intercept = _march(rays, offset, box, view, column)
        mm = math.sqrt(1 + slope * slope) * rays.voxel_mm
        for k in range(math.ceil(low), math.floor(high) + 1):
            position = intercept + slope * k
            near = math.floor(position)
            for i, weight in ((near, 1 - (position - near)), (near + 1, position - near)):
                if 0 <= i - offset[cross] < box[cross]:
                    y, x = (k, i) if main == 0 else (i, k)
                    _add(
                        planes[y - offset[0], x - offset[1]],
                        real(weight * mm),
                        windows[view, column],
                    )


@njit(cache=True)
def _march(
    rays: ParallelRays, offset: Index, box: Index, view: int, column: int
) -> tuple[int, int, float, float, float, float]:
    """How the ray of a window's column crosses a box: ``cross = intercept + slope k``.

    Returns main and cross axis (0 is y, 1 is x), the range of planes k along the main axis,
    slope and intercept. Rays at exactly 45° march along x.
    """
    sin, cos = rays.directions[view]
    ny, nx = rays.shape
    s = (rays.first_columns[view] + column - rays.axis_column) * rays.column_voxels
    y, x = s * sin + 0.5 * (ny - 1), s * cos + 0.5 * (nx - 1)
    if abs(sin) >= abs(cos):
        main, cross, slope = 1, 0, -cos / sin
        intercept = y - x * slope
    else:
        main, cross, slope = 0, 1, -sin / cos
        intercept = x - y * slope
    low, high = float(offset[main]), float(offset[main] + box[main] - 1)
    low, high = clip(low, high, intercept, slope, offset[cross], box[cross])
    return main, cross, low, high, slope, intercept


@njit(cache=True)
def _add(out: Real, weight: float, values: Real) -> None:
    for plane in range(out.size):
        out[plane] += weight * values[plane]
