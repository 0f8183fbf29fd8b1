"""Joseph's fan-beam projector of one slice, for a whole batch of slices at once.

The detector has one row and every ray stays in the slice: each ray is computed once, and the
inner loops run over the batch, which is the last axis. The matrix is bitwise that of
`joseph_cone_fast`, which takes such slices one by one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import get_num_threads, njit, prange

from normalfit.operators.joseph_ray import (
    ConeRays,
    clip,
    direction_of,
    neighbours,
    path_of_column,
    planes_ahead,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.operators.cone_geometry import ConeGeometry

    Real = NDArray[Any]  # float32 or float64
    Index = tuple[int, ...]


def covers(geometry: ConeGeometry, num_slices: int) -> bool:
    """Return whether there is one slice, and all rays stay in it."""
    vectors = np.asarray(geometry.vectors)
    flat = not vectors[:, [2, 5, 8]].any()  # z of source, detector and columns
    return num_slices == 1 and geometry.detector_shape[0] == 1 and flat


def project(slices: Real, rays: ConeRays, offset: Index) -> Real:
    """Return the windows ``(batch, views, 1, columns)`` of the projections of boxes of a slice.

    Parameters
    ----------
    slices
        The boxes ``(batch, 1, y, x)``, float32 or float64; the slice is zero outside.
    rays
        The scan and its windows.
    offset
        First voxel xyz of the box.
    """
    planes = np.ascontiguousarray(slices[:, 0].transpose(2, 1, 0))
    columns = rays.window_shape[1]
    windows = np.zeros((len(rays.vectors), columns, len(slices)), slices.dtype)
    _project(planes, rays, offset, windows)
    return windows.transpose(2, 0, 1)[:, :, None]


def backproject(projections: Real, rays: ConeRays, offset: Index, shape: Index) -> Real:
    """Return the boxes ``(batch, 1, y, x)`` of the backprojection: the adjoint of `project`.

    Bitwise the same for any number of threads.

    Parameters
    ----------
    projections
        The windows ``(batch, views, 1, columns)``.
    rays
        The scan and its windows.
    offset, shape
        First voxel xyz and shape xyz of the box.
    """
    windows = np.ascontiguousarray(projections[:, :, 0].transpose(1, 2, 0))
    planes = np.zeros((*shape[:2], len(projections)), projections.dtype)
    _backproject(windows, rays, offset, planes, min(shape[0], get_num_threads()))
    return planes.transpose(2, 1, 0)[:, None]


@njit(cache=True, parallel=True)
def _project(planes: Real, rays: ConeRays, offset: Index, windows: Real) -> None:
    views, columns, _ = windows.shape
    for ray in prange(views * columns):
        view = ray // columns
        _project_ray(planes, rays, offset, view, ray - view * columns, windows)


@njit(cache=True, parallel=True)
def _backproject(
    windows: Real, rays: ConeRays, offset: Index, planes: Real, num_slabs: int
) -> None:
    for slab in prange(num_slabs):  # a slab is a box that no other task writes to
        first = slab * planes.shape[0] // num_slabs
        last = (slab + 1) * planes.shape[0] // num_slabs
        slab_offset = (offset[0] + first, offset[1], offset[2])
        _backproject_box(windows, rays, slab_offset, planes[first:last])


@njit(cache=True)
def _project_ray(
    planes: Real, rays: ConeRays, offset: Index, view: int, column: int, windows: Real
) -> None:
    real = planes.dtype.type
    out = windows[view, column]
    along_x, source, direction, slope, intercept = path_of_column(rays, view, column)
    main, cross = (0, 1) if along_x else (1, 0)
    low, high = planes_ahead(source, direction, offset[main], planes.shape[main])
    low, high = clip(low, high, intercept, slope, offset[cross], planes.shape[cross])
    for k in range(math.ceil(low), math.floor(high) + 1):
        near, far, w_near, w_far = neighbours(
            intercept + slope * k, offset[cross], planes.shape[cross]
        )
        a, b, plane = real(w_near), real(w_far), k - offset[main]
        one = planes[plane, near] if along_x else planes[near, plane]
        two = planes[plane, far] if along_x else planes[far, plane]
        for i in range(out.size):
            out[i] += a * one[i] + b * two[i]
    length = real(_length_mm(rays, view, column, direction))
    for i in range(out.size):
        out[i] *= length


@njit(cache=True)
def _backproject_box(windows: Real, rays: ConeRays, offset: Index, planes: Real) -> None:
    real = planes.dtype.type
    views, columns, batch = windows.shape
    scaled = np.empty(batch, planes.dtype)
    for ray in range(views * columns):
        view, column = ray // columns, ray % columns
        along_x, source, direction, slope, intercept = path_of_column(rays, view, column)
        main, cross = (0, 1) if along_x else (1, 0)
        low, high = planes_ahead(source, direction, offset[main], planes.shape[main])
        low, high = clip(low, high, intercept, slope, offset[cross], planes.shape[cross])
        if low > high:
            continue
        length = real(_length_mm(rays, view, column, direction))
        for i in range(batch):
            scaled[i] = windows[view, column, i] * length
        for k in range(math.ceil(low), math.floor(high) + 1):
            near, far, w_near, w_far = neighbours(
                intercept + slope * k, offset[cross], planes.shape[cross]
            )
            plane = k - offset[main]
            one = planes[plane, near] if along_x else planes[near, plane]
            two = planes[plane, far] if along_x else planes[far, plane]
            _add(one, real(w_near), scaled)
            _add(two, real(w_far), scaled)


@njit(cache=True)
def _length_mm(rays: ConeRays, view: int, column: int, direction: float) -> float:
    """Length of a ray between two planes; `direction` is the ray's part along the main axis."""
    dx, dy, _ = direction_of(rays, view, 0, rays.window_offsets[view, 1] + column)
    return math.sqrt(dx * dx + dy * dy) * rays.voxel_mm / abs(direction)


@njit(cache=True)
def _add(out: Real, weight: float, values: Real) -> None:
    for i in range(out.size):
        out[i] += weight * values[i]
