"""geometry_shift: how far two geometries of one scan are apart, in pixels of the detector."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.grid import Grid


def geometry_shift(a: NDArray[np.float64], b: NDArray[np.float64], grid: Grid) -> float:
    """Return the largest distance in pixels between where two geometries see a corner of a grid.

    Parameters
    ----------
    a, b
        ASTRA's cone_vec of as many views, ``(views, 12)``; else the result is infinite.
    grid
        A grid with voxel sides, centred on the origin.
    """
    if a.shape != b.shape:
        return float("inf")
    sides = np.array(grid.shape[::-1]) * np.array((grid.voxel_mm or (1.0,) * 3)[::-1])
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * sides
    difference = _places(a, corners) - _places(b, corners)
    return float(np.linalg.norm(difference, axis=-1).max())


def _places(vectors: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where points ``(points, xyz)`` are seen: ``(views, points, 2)``, in pixels."""
    source, centre, u, v = (vectors[:, i : i + 3] for i in (0, 3, 6, 9))
    # source + s (point − source) = centre + p u + q v, solved for (p, q, s)
    rays = points[None] - source[:, None]
    matrix = np.stack([*(np.broadcast_to(w[:, None], rays.shape) for w in (u, v)), -rays], axis=-1)
    right = np.broadcast_to((source - centre)[:, None], rays.shape)
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., :2, 0])
