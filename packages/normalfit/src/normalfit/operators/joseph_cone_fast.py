"""Joseph's cone-beam projector for detectors whose columns are parallel to z: the fast path.

All rays of one detector column then share their path in the x-y plane: each plane is
interpolated once for the whole column, and the inner loops run along z and along the rows.
Their main axis must be x or y. The matrix is that of `joseph_cone_general`.
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
    source_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.operators.cone_geometry import ConeGeometry

    Real = NDArray[Any]  # float32 or float64
    Index = tuple[int, ...]

PAD = 2  # zeros before and behind a line along z: interpolation reaches one voxel out, plus RIM


def covers(geometry: ConeGeometry) -> bool:
    """Return whether columns are parallel to z and no ray is as steep as 45°."""
    if geometry.u[:, 2].any() or geometry.v[:, :2].any():
        return False
    rows, columns = geometry.detector_shape
    ray = geometry.detector - geometry.source
    steps = np.arange(columns) - (columns - 1) / 2
    across = np.abs(ray[:, None, :2] + steps[:, None] * geometry.u[:, None, :2]).max(axis=2)
    rise = np.abs(ray[:, 2]) + (rows - 1) / 2 * np.abs(geometry.v[:, 2])
    return bool((rise[:, None] < across).all())


def project(volume: Real, rays: ConeRays, offset: Index) -> Real:
    """Return the windows ``(views, rows, columns)`` of the projections of a box of the grid.

    Parameters
    ----------
    volume
        The box ``(z, y, x)``, float32 or float64; the grid is zero outside.
    rays
        The scan and its windows.
    offset
        First voxel xyz of the box.
    """
    rows, columns = rays.window_shape
    columns_first = np.empty((len(rays.vectors), columns, rows), volume.dtype)
    _project(np.ascontiguousarray(volume.transpose(2, 1, 0)), rays, offset, columns_first)
    return columns_first.transpose(0, 2, 1)


def backproject(projections: Real, rays: ConeRays, offset: Index, shape: Index) -> Real:
    """Return the box ``(z, y, x)`` of the backprojection of windows: the adjoint of `project`.

    Bitwise the same for any number of threads.

    Parameters
    ----------
    projections
        The windows ``(views, rows, columns)``.
    rays
        The scan and its windows.
    offset, shape
        First voxel xyz and shape xyz of the box.
    """
    columns_first = np.ascontiguousarray(projections.transpose(0, 2, 1))
    volume = np.zeros(shape, projections.dtype)
    num_slabs = min(shape[0], get_num_threads())
    _backproject(columns_first, rays, offset, volume, num_slabs)
    return volume.transpose(2, 1, 0)


@njit(cache=True, parallel=True)
def _project(volume: Real, rays: ConeRays, offset: Index, windows: Real) -> None:
    views, columns, _ = windows.shape
    for ray in prange(views * columns):
        view = ray // columns
        column = ray - view * columns
        _project_column(volume, rays, offset, view, column, windows[view, column])


@njit(cache=True, parallel=True)
def _backproject(
    windows: Real, rays: ConeRays, offset: Index, volume: Real, num_slabs: int
) -> None:
    for slab in prange(num_slabs):  # a slab is a box that no other task writes to
        first = slab * volume.shape[0] // num_slabs
        last = (slab + 1) * volume.shape[0] // num_slabs
        slab_offset = (offset[0] + first, offset[1], offset[2])
        _backproject_box(windows, rays, slab_offset, volume[first:last])


@njit(cache=True)
def _project_column(
    volume: Real, rays: ConeRays, offset: Index, view: int, column: int, out: Real
) -> None:
    along_x, source, direction, slope, intercept = path_of_column(rays, view, column)
    sz, dz, rise = _rise(rays, view, column)
    main, cross = (0, 1) if along_x else (1, 0)
    low, high = planes_ahead(source, direction, offset[main], volume.shape[main])
    low, high = clip(low, high, intercept, slope, offset[cross], volume.shape[cross])
    line = np.zeros(volume.shape[2] + 2 * PAD, volume.dtype)
    out[:] = 0
    for k in range(math.ceil(low), math.floor(high) + 1):
        near, far, w_near, w_far = neighbours(
            intercept + slope * k, offset[cross], volume.shape[cross]
        )
        if along_x:
            plane = k - offset[0]
            _interpolate(volume[plane, near], volume[plane, far], w_near, w_far, line)
        else:
            plane = k - offset[1]
            _interpolate(volume[near, plane], volume[far, plane], w_near, w_far, line)
        t = (k - source) / direction
        _sample(line, sz + t * dz, t * rise, offset[2], rays.window_offsets[view, 0], out)
    _scale(rays, view, column, abs(direction), out, out)


@njit(cache=True)
def _backproject_box(windows: Real, rays: ConeRays, offset: Index, volume: Real) -> None:
    views, columns, rows = windows.shape
    scaled = np.empty(rows, volume.dtype)
    even = np.empty(volume.shape[2] + 2 * PAD, volume.dtype)
    odd = np.empty_like(even)
    for view in range(views):
        first_row = rays.window_offsets[view, 0]
        for column in range(columns):
            along_x, source, direction, slope, intercept = path_of_column(rays, view, column)
            main, cross = (0, 1) if along_x else (1, 0)
            low, high = planes_ahead(source, direction, offset[main], volume.shape[main])
            low, high = clip(low, high, intercept, slope, offset[cross], volume.shape[cross])
            if low > high:
                continue
            sz, dz, rise = _rise(rays, view, column)
            _scale(rays, view, column, abs(direction), windows[view, column], scaled)
            for k in range(math.ceil(low), math.floor(high) + 1):
                near, far, w_near, w_far = neighbours(
                    intercept + slope * k, offset[cross], volume.shape[cross]
                )
                t = (k - source) / direction
                _deposit(scaled, sz + t * dz, t * rise, offset[2], first_row, even, odd)
                if along_x:
                    plane = k - offset[0]
                    _spread(even, odd, w_near, w_far, volume[plane, near], volume[plane, far])
                else:
                    plane = k - offset[1]
                    _spread(even, odd, w_near, w_far, volume[near, plane], volume[far, plane])


@njit(cache=True)
def _rise(rays: ConeRays, view: int, column: int) -> tuple[float, float, float]:
    """Height of the source, rise to the first row of the detector, rise from row to row."""
    _, _, sz = source_of(rays, view)
    _, _, dz = direction_of(rays, view, 0, rays.window_offsets[view, 1] + column)
    return sz, dz, rays.vectors[view, 11] / rays.voxel_mm


@njit(cache=True)
def _scale(
    rays: ConeRays, view: int, column: int, direction: float, values: Real, out: Real
) -> None:
    """Multiply every row by the length in mm of its ray between two planes."""
    real = out.dtype.type
    first_row, first_column = rays.window_offsets[view]
    dx, dy, dz = direction_of(rays, view, 0, first_column + column)
    step = rays.vectors[view, 11] / rays.voxel_mm
    for r in range(out.size):
        z = dz + (first_row + r) * step
        out[r] = values[r] * real(math.sqrt(dx * dx + dy * dy + z * z) * rays.voxel_mm / direction)


@njit(cache=True)
def _interpolate(near: Real, far: Real, w_near: float, w_far: float, line: Real) -> None:
    """Write the line along z between two neighbouring ones, with PAD zeros at both ends."""
    real = line.dtype.type
    a, b = real(w_near), real(w_far)
    for z in range(near.size):
        line[z + PAD] = a * near[z] + b * far[z]


@njit(cache=True)
def _spread(even: Real, odd: Real, w_near: float, w_far: float, near: Real, far: Real) -> None:
    """Add a line along z to its two neighbours: the adjoint of `_interpolate`."""
    real = even.dtype.type
    a, b = real(w_near), real(w_far)
    for z in range(near.size):
        value = even[z + PAD] + odd[z + PAD]
        near[z] += a * value
        far[z] += b * value


@njit(cache=True)
def _sample(line: Real, start: float, step: float, offset: int, first_row: int, out: Real) -> None:
    """Add to every row the line's value at the height of its ray."""
    real = line.dtype.type
    last_row = first_row + out.size - 1
    low, high = clip(first_row, last_row, start, step, offset, line.size - 2 * PAD)
    first, stop = math.ceil(low), math.floor(high) + 1
    a, b, bottom = real(start + PAD), real(step), real(offset)
    part = out[first - first_row : max(first, stop) - first_row]
    for j in range(part.size):
        height = a + b * real(first + j) - bottom
        z = np.uint32(height)
        below = line[z]
        part[j] += below + (height - np.floor(height)) * (line[z + np.uint32(1)] - below)


@njit(cache=True)
def _deposit(
    values: Real, start: float, step: float, offset: int, first_row: int, even: Real, odd: Real
) -> None:
    """Add every row to a line: the adjoint of `_sample`.

    Every other row goes to a line of its own: neighbouring rows often meet the same voxel, and
    with one line each addition would wait for the one before.
    """
    real = values.dtype.type
    even[:] = 0
    odd[:] = 0
    last_row = first_row + values.size - 1
    low, high = clip(first_row, last_row, start, step, offset, even.size - 2 * PAD)
    first, stop = math.ceil(low), math.floor(high) + 1
    a, b, bottom = real(start + PAD), real(step), real(offset)
    part = values[first - first_row : max(first, stop) - first_row]
    for j in range(0, part.size - 1, 2):
        _add(even, a + b * real(first + j) - bottom, part[j])
        _add(odd, a + b * real(first + j + 1) - bottom, part[j + 1])
    if part.size & 1:
        j = part.size - 1
        _add(even, a + b * real(first + j) - bottom, part[j])


@njit(cache=True)
def _add(line: Real, height: float, value: float) -> None:
    z = np.uint32(height)
    upper = value * (height - np.floor(height))
    line[z] += value - upper
    line[z + np.uint32(1)] += upper
