"""A ball, its exact line integrals in cone beams, and what makes a volume that ball."""

import numpy as np
import pytest
import torch

from normalfit.grid import Grid
from normalfit.operators.cone_geometry import ConeGeometry

CENTRE = np.array([5.0, -8.0, 3.0])  # x, y, z
RADIUS = 14.0
GRID = Grid((64, 64, 64), (1.0, 1.0, 1.0))
COARSE = Grid((32, 32, 32), (2.0, 2.0, 2.0))
CIRCLE = ConeGeometry.circular_orbit(
    num_views=180,
    source_origin_mm=200.0,
    origin_detector_mm=100.0,
    detector_shape=(90, 96),
    pixel_mm=(1.5, 1.5),
)


def _chords(source, direction):
    """Lengths of rays inside the ball."""
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    to_centre = CENTRE - source
    along = np.sum(unit * to_centre, axis=-1)
    miss = np.sum(to_centre**2, axis=-1) - along**2
    return 2.0 * np.sqrt(np.maximum(RADIUS**2 - miss, 0.0))


def cone_projections(geometry):
    rows, columns = (np.arange(n) - 0.5 * (n - 1) for n in geometry.detector_shape)
    views = []
    for vector in geometry.vectors:
        source, detector, u, v = vector.reshape(4, 3)
        pixels = detector + columns[None, :, None] * u + rows[:, None, None] * v
        views.append(_chords(source, pixels - source))
    return torch.tensor(np.stack(views), dtype=torch.float32)


def orbit_around_x(vectors):
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return (vectors.reshape(-1, 4, 3) @ turn.T).reshape(-1, 12), (90, 96)


def positions(grid):
    """Return x, y, z of the voxels, to broadcast."""
    z, y, x = (
        (np.arange(n) - 0.5 * (n - 1)) * side
        for n, side in zip(grid.shape, grid.voxel_mm, strict=True)
    )
    return x[None, None, :], y[None, :, None], z[:, None, None]


def assert_is_the_ball(volume, grid, tolerance=0.05, axes=(0, 1, 2)):
    values = volume.numpy().astype(np.float64)
    offsets = [p - c for p, c in zip(positions(grid), CENTRE, strict=True)]
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    inside = values[distance < RADIUS - 3]
    around = values[(distance > RADIUS + 3) & (distance < RADIUS + 8)]
    assert inside.mean() == pytest.approx(1.0, abs=0.003)
    assert np.abs(inside - 1.0).max() < tolerance
    assert np.abs(around.mean()) < 0.002
    near = values * (distance < RADIUS + 8)
    mass = near.sum() * np.prod(grid.voxel_mm)
    assert mass == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.005)
    centroid = [float((near * offset).sum() / near.sum()) for offset in offsets]
    assert [centroid[i] for i in axes] == pytest.approx(
        [0.0] * len(axes), abs=0.03
    )  # mm: a hundredth of a voxel
