"""Ellipsoids: a made object, to look at an operator with when there is no data."""

from __future__ import annotations

import numpy as np
import torch

_NUM_INNER = 8
_EDGE = 0.08  # width of the soft edges, as a part of the radius: about a voxel in 32


def ellipsoids(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return a body with inner ellipsoids, ``shape``, float32, values in [0, 1].

    Everything lies within the ball that the grid holds, as a scanned object does.
    """
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) if n > 1 else np.zeros(1) for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    volume = 0.4 * _soft_ellipsoid(grid, np.zeros(len(shape)), np.full(len(shape), 0.8))
    for _ in range(_NUM_INNER):
        centre = rng.uniform(-0.4, 0.4, len(shape))
        radii = rng.uniform(0.08, 0.3, len(shape))
        volume += rng.uniform(-0.3, 0.5) * _soft_ellipsoid(grid, centre, radii)
    return torch.from_numpy(np.clip(volume, 0, 1).astype(np.float32))


def _soft_ellipsoid(grid: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    column = (-1,) + (1,) * (grid.ndim - 1)
    distance = np.sqrt((((grid - centre.reshape(column)) / radii.reshape(column)) ** 2).sum(0))
    return np.clip((1 - distance) / _EDGE + 0.5, 0, 1)
