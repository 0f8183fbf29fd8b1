"""Joseph's cone-beam projector for any source and detector position: the general path.

Every ray is marched on its own, along x, y or z. Rays at exactly 45° go to the first axis in
that order, decided in float64 by the one expression that both directions use.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange

from normalfit.operators.joseph_ray import ConeRays, clip, direction_of, planes_ahead, source_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Real = NDArray[Any]  # float32 or float64
    Index = tuple[int, ...]
    Point = tuple[float, float, float]


class Axis(NamedTuple):
    """One axis of a box, as a ray crosses it: at ``intercept + slope k`` in plane k."""

    intercept: float
    slope: float
    first: int
    length: int
    stride: int


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
    windows = np.empty((len(rays.vectors), rows, columns), volume.dtype)
    _project(np.ascontiguousarray(volume), rays, offset, windows)
    return windows


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
    volume = np.zeros(shape[::-1], projections.dtype)
    num_slabs = min(shape[2], get_num_threads())
    _backproject(np.ascontiguousarray(projections), rays, offset, volume, num_slabs)
    return volume


@njit(cache=True, parallel=True)
def _project(volume: Real, rays: ConeRays, offset: Index, windows: Real) -> None:
    views, rows, columns = windows.shape
    for line in prange(views * rows):
        view = line // rows
        row = line - view * rows
        for column in range(columns):
            windows[view, row, column] = _line_integral(volume, rays, offset, view, row, column)


@njit(cache=True, parallel=True)
def _backproject(
    windows: Real, rays: ConeRays, offset: Index, volume: Real, num_slabs: int
) -> None:
    for slab in prange(num_slabs):  # a slab is a box that no other task writes to
        first = slab * volume.shape[0] // num_slabs
        last = (slab + 1) * volume.shape[0] // num_slabs
        slab_offset = (offset[0], offset[1], offset[2] + first)
        _backproject_box(windows, rays, slab_offset, volume[first:last])


@njit(cache=True)
def _line_integral(
    volume: Real, rays: ConeRays, offset: Index, view: int, row: int, column: int
) -> float:
    real, flat = volume.dtype.type, volume.reshape(-1)
    main, p, q, low, high, mm = _march(rays, offset, volume.shape, view, row, column)
    total = real(0)
    for k in range(math.ceil(low), math.floor(high) + 1):
        i, wi = _neighbour(p, k)
        j, wj = _neighbour(q, k)
        corner = (k - main.first) * main.stride + i * p.stride + j * q.stride
        near = far = real(0)
        if 0 <= j < q.length:
            near = _between(flat, corner, p, i, real(wi))
        if 0 <= j + 1 < q.length:
            far = _between(flat, corner + q.stride, p, i, real(wi))
        total += real(1 - wj) * near + real(wj) * far
    return total * real(mm)


@njit(cache=True)
def _backproject_box(windows: Real, rays: ConeRays, offset: Index, volume: Real) -> None:
    real, flat = volume.dtype.type, volume.reshape(-1)
    views, rows, columns = windows.shape
    for ray in range(views * rows * columns):
        view, pixel = ray // (rows * columns), ray % (rows * columns)
        row, column = pixel // columns, pixel % columns
        main, p, q, low, high, mm = _march(rays, offset, volume.shape, view, row, column)
        value = windows[view, row, column] * real(mm)
        for k in range(math.ceil(low), math.floor(high) + 1):
            i, wi = _neighbour(p, k)
            j, wj = _neighbour(q, k)
            corner = (k - main.first) * main.stride + i * p.stride + j * q.stride
            if 0 <= j < q.length:
                _share(flat, corner, p, i, real(wi), value * real(1 - wj))
            if 0 <= j + 1 < q.length:
                _share(flat, corner + q.stride, p, i, real(wi), value * real(wj))


@njit(cache=True)
def _march(
    rays: ConeRays, offset: Index, shape: Index, view: int, row: int, column: int
) -> tuple[Axis, Axis, Axis, float, float, float]:
    """How the ray of a window's pixel crosses a box of shape ``(z, y, x)``.

    Returns the main axis, the two others, the range of planes along the main axis, and the
    length in mm of the ray between two planes.
    """
    first_row, first_column = rays.window_offsets[view]
    source = source_of(rays, view)
    direction = direction_of(rays, view, first_row + row, first_column + column)
    ax, ay, az = abs(direction[0]), abs(direction[1]), abs(direction[2])
    if ax >= ay and ax >= az:
        order = (0, 1, 2)
    elif ay >= az:
        order = (1, 0, 2)
    else:
        order = (2, 0, 1)
    main = _axis(source, direction, offset, shape, order[0], order[0])
    p = _axis(source, direction, offset, shape, order[0], order[1])
    q = _axis(source, direction, offset, shape, order[0], order[2])
    low, high = planes_ahead(source[order[0]], direction[order[0]], main.first, main.length)
    low, high = clip(low, high, p.intercept, p.slope, p.first, p.length)
    low, high = clip(low, high, q.intercept, q.slope, q.first, q.length)
    mm = math.sqrt(1 + p.slope * p.slope + q.slope * q.slope) * rays.voxel_mm
    return main, p, q, low, high, mm


@njit(cache=True)
def _axis(
    source: Point, direction: Point, offset: Index, shape: Index, main: int, axis: int
) -> Axis:
    slope = direction[axis] / direction[main]
    intercept = source[axis] - source[main] * slope
    nx, ny, nz = shape[2], shape[1], shape[0]
    length, stride = ((nx, 1), (ny, nx), (nz, nx * ny))[axis]
    return Axis(intercept, slope, offset[axis], length, stride)


@njit(cache=True)
def _neighbour(axis: Axis, k: int) -> tuple[int, float]:
    """Voxel of the box at or before the ray's position in plane k; weight of the next one."""
    position = axis.intercept + axis.slope * k
    index = math.floor(position)
    return index - axis.first, position - index


@njit(cache=True)
def _between(flat: Real, at: int, axis: Axis, i: int, weight: float) -> float:
    """Interpolate between voxels i and i + 1 of an axis; zero outside the box."""
    real = flat.dtype.type
    near = flat[at] if 0 <= i < axis.length else real(0)
    far = flat[at + axis.stride] if 0 <= i + 1 < axis.length else real(0)
    return (real(1) - weight) * near + weight * far


@njit(cache=True)
def _share(flat: Real, at: int, axis: Axis, i: int, weight: float, value: float) -> None:
    """Share a value between voxels i and i + 1 of an axis: the adjoint of `_between`."""
    real = flat.dtype.type
    if 0 <= i < axis.length:
        flat[at] += (real(1) - weight) * value
    if 0 <= i + 1 < axis.length:
        flat[at + axis.stride] += weight * value
