"""FDK and FBP give a ball back from its exact line integrals, whatever the scanner looks like."""

import numpy as np
import pytest
import torch
from tests.partunroll.data.ball import (
    CENTRE,
    CIRCLE,
    COARSE,
    GRID,
    RADIUS,
    assert_is_the_ball,
    cone_projections,
    orbit_around_x,
    positions,
)

from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from partunroll.errors import InputError
from partunroll.initial.fbp import fbp
from partunroll.initial.fdk import fdk
from partunroll.initial.ramp_filter import WINDOWS, filter_rows, ramp_response


def _parallel_projections(geometry, grid):
    z = (np.arange(grid.shape[0]) - 0.5 * (grid.shape[0] - 1)) * grid.voxel_mm[0]
    s = (np.arange(geometry.num_columns) - geometry.axis_column) * geometry.column_mm
    distance = s - (
        np.outer(np.cos(a := geometry.angles_rad), CENTRE[:1]) + np.outer(np.sin(a), CENTRE[1:2])
    )
    square = RADIUS**2 - distance[:, None, :] ** 2 - (z[None, :, None] - CENTRE[2]) ** 2
    return torch.tensor(2.0 * np.sqrt(np.maximum(square, 0.0)), dtype=torch.float32)


def _shifted_detector(vectors):
    vectors[:, 3:6] += 7.3 * vectors[:, 6:9] + 5.2 * vectors[:, 9:12]
    return vectors, (100, 112)


def _shifted_axis(vectors):
    vectors[:, [0, 3]] += 4.0
    vectors[:, [1, 4]] -= 6.0
    return vectors, (90, 110)


def _turned_detector(vectors):
    vectors[:, 6:12] = vectors[:, [9, 10, 11, 6, 7, 8]]
    return vectors, (96, 90)


def _mirrored_detector(vectors):
    vectors[:, 6:9] *= -1.0
    return vectors, (90, 96)


def _shuffled_views(vectors):
    return np.random.default_rng(0).permutation(vectors), (90, 96)


def _yawed_detector(vectors):
    sin, cos = np.sin(0.25), np.cos(0.25)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    vectors[:, 6:9] = vectors[:, 6:9] @ turn.T
    return vectors, (90, 110)


def _uneven_views(vectors):
    keep = np.r_[0:60, 60:120:2, 120:180]
    return vectors[keep], (90, 96)


@pytest.mark.parametrize(
    "change",
    [
        _shifted_detector,
        _shifted_axis,
        _turned_detector,
        _mirrored_detector,
        _shuffled_views,
        orbit_around_x,
        _yawed_detector,
        _uneven_views,
    ],
)
def test_fdk_gives_the_ball_back_for_any_circle(change):
    vectors, shape = change(CIRCLE.vectors.copy())
    geometry = ConeGeometry(vectors, shape)
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), cone_projections(geometry))
    assert_is_the_ball(volume, COARSE)


def test_fdk_gives_the_ball_back():
    volume = fdk(ConeBeam(GRID, CIRCLE, "numba"), cone_projections(CIRCLE))
    assert_is_the_ball(volume, GRID, tolerance=0.02)


def test_fdk_is_exact_for_what_does_not_change_along_the_axis():
    geometry = ConeGeometry.circular_orbit(
        num_views=180,
        source_origin_mm=80.0,
        origin_detector_mm=40.0,
        detector_shape=(160, 110),
        pixel_mm=(1.5, 1.5),
    )
    s, t = ((np.arange(n) - 0.5 * (n - 1)) * 1.5 for n in geometry.detector_shape[::-1])
    from_axis = 80.0 * s / np.hypot(s, 120.0)
    chord = 2.0 * np.sqrt(np.maximum(RADIUS**2 - from_axis**2, 0.0))
    steeper = np.sqrt(1.0 + t[:, None] ** 2 / (120.0**2 + s**2))
    y = torch.tensor(chord * steeper, dtype=torch.float32).expand(180, -1, -1)
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), y).numpy()
    x_mm, y_mm, _ = positions(COARSE)
    inside = np.hypot(x_mm, y_mm)[0] < RADIUS - 4
    np.testing.assert_allclose(volume[:, inside], 1.0, atol=0.02)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_keep_the_mean(window):
    volume = fdk(ConeBeam(COARSE, CIRCLE, "numba"), cone_projections(CIRCLE), window)
    assert_is_the_ball(volume, COARSE)


def test_fdk_knows_the_grid():
    grid = Grid((20, 26, 30), (2.2, 2.2, 2.2))
    volume = fdk(ConeBeam(grid, CIRCLE, "numba"), cone_projections(CIRCLE))
    assert_is_the_ball(volume, grid)


@pytest.mark.parametrize(
    ("num_views", "range_deg", "axis_column"),
    [(180, 180.0, 47.5), (180, 360.0, 45.2), (91, 182.0, 50.75)],
)
def test_fbp_gives_the_ball_back(num_views, range_deg, axis_column):
    angles = np.deg2rad(-88.0 + np.arange(num_views) * range_deg / num_views)
    geometry = ParallelGeometry(angles, 96, 0.8, axis_column)
    operator = ParallelBeam(GRID, geometry, "numba")
    assert_is_the_ball(fbp(operator, _parallel_projections(geometry, GRID)), GRID)


def test_fbp_in_2d_is_a_slice_of_3d():
    geometry = ParallelGeometry(np.arange(60) * np.pi / 60, 80, 1.0, 40.2)
    y = _parallel_projections(geometry, GRID)
    volume = fbp(ParallelBeam(GRID, geometry, "numba"), y)
    flat = ParallelBeam(Grid((64, 64), (1.0, 1.0)), geometry, "numba")
    torch.testing.assert_close(fbp(flat, y[:, 35]), volume[35])


def test_slabs_and_batches_change_nothing(monkeypatch):
    small = Grid((16, 16, 16), (4.0,) * 3)
    y = torch.stack([cone_projections(CIRCLE), torch.zeros(CIRCLE.num_views, 90, 96)])
    operator = ConeBeam(small, CIRCLE, "numba")
    both = fdk(operator, y)
    monkeypatch.setattr("partunroll.initial.fdk.SLAB_VOXELS", 300)
    torch.testing.assert_close(fdk(operator, y[0]), both[0])
    assert both[1].abs().max() == 0.0


def test_the_ramp_is_band_limited_and_windows_end_at_the_cutoff():
    response = ramp_response(64, "ramp", 1.0)
    np.testing.assert_allclose(response[1:], np.arange(1, 33) / 64, atol=4e-3)
    assert 0.0 < response[0] < 0.01  # not zero, as |f| would be
    for window in WINDOWS:
        cut = ramp_response(64, window, 0.5)
        assert cut[17:].max() == 0.0
        assert cut[8] > 0.0


def test_the_ramp_does_not_wrap_around():
    rows = torch.zeros(1, 33)
    rows[0, 0] = 1.0
    far = filter_rows(rows, 1.0)[0, 31]
    assert far == pytest.approx(-1.0 / (np.pi * 31) ** 2, rel=1e-3)


def _detector_beside_the_axis(vectors):
    vectors[:, 3:6] += 9.0 * vectors[:, 6:9]
    return vectors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v[:88],
            "or an arc of more than 180°, got a gap of 186",
        ),
        (lambda v: np.delete(v, np.r_[40:60, 130:150], 0), "got a gap of 42"),
        (_detector_beside_the_axis, "detector must see the axis"),
        (lambda v: v[:2], "at least 3 views, got 2"),
        (lambda v: v + np.linspace(0, 50, len(v))[:, None] * np.eye(12)[2], "lie on a circle"),
        (lambda v: np.hstack([v[:, :9], v[:, 9:] + 0.5 * v[:, 6:9]]), "follow the plane"),
    ],
)
def test_scans_that_fdk_is_not_made_for_are_refused(change, message):
    geometry = ConeGeometry(change(CIRCLE.vectors.copy()), (8, 8))
    with pytest.raises(InputError, match=message):
        fdk(ConeBeam(GRID, geometry, "numba"), torch.zeros(geometry.num_views, 8, 8))


def test_gaps_in_the_half_circle_are_refused():
    geometry = ParallelGeometry(np.arange(60) * np.pi / 90, 80, 1.0, 39.5)
    with pytest.raises(InputError, match="cover 180° without gaps, got a gap of 62"):
        fbp(ParallelBeam(GRID, geometry, "numba"), torch.zeros(60, 64, 80))


def test_shape_window_and_cutoff_are_checked():
    operator = ConeBeam(GRID, CIRCLE, "numba")
    with pytest.raises(InputError, match="trailing shape"):
        fdk(operator, torch.zeros(10, 90, 96))
    with pytest.raises(InputError, match="'blackman'"):
        fdk(operator, torch.zeros(180, 90, 96), "blackman")
    with pytest.raises(InputError, match=r"cutoff in \(0, 1\]"):
        filter_rows(torch.zeros(4, 4), 1.0, "hann", 1.5)
