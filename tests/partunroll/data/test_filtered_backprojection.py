"""FDK and FBP give a ball back from its exact line integrals, whatever the scanner looks like."""

import numpy as np
import pytest
import torch

from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from partunroll.errors import InputError
from partunroll.initial.fbp import fbp
from partunroll.initial.fdk import fdk
from partunroll.initial.ramp_filter import WINDOWS, filter_rows, ramp_response

CENTRE = np.array([5.0, -8.0, 3.0])  # x, y, z
RADIUS = 14.0
GRID = Grid((64, 64, 64), (1.0, 1.0, 1.0))
COARSE = Grid((32, 32, 32), (2.0, 2.0, 2.0))


def _chords(source, direction):
    """Lengths of rays inside the ball."""
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    to_centre = CENTRE - source
    along = np.sum(unit * to_centre, axis=-1)
    miss = np.sum(to_centre**2, axis=-1) - along**2
    return 2.0 * np.sqrt(np.maximum(RADIUS**2 - miss, 0.0))


def _cone_projections(geometry):
    rows, columns = (np.arange(n) - 0.5 * (n - 1) for n in geometry.detector_shape)
    views = []
    for vector in geometry.vectors:
        source, detector, u, v = vector.reshape(4, 3)
        pixels = detector + columns[None, :, None] * u + rows[:, None, None] * v
        views.append(_chords(source, pixels - source))
    return torch.tensor(np.stack(views), dtype=torch.float32)


def _parallel_projections(geometry, grid):
    z = (np.arange(grid.shape[0]) - 0.5 * (grid.shape[0] - 1)) * grid.voxel_mm[0]
    s = (np.arange(geometry.num_columns) - geometry.axis_column) * geometry.column_mm
    distance = s - (
        np.outer(np.cos(a := geometry.angles_rad), CENTRE[:1]) + np.outer(np.sin(a), CENTRE[1:2])
    )
    square = RADIUS**2 - distance[:, None, :] ** 2 - (z[None, :, None] - CENTRE[2]) ** 2
    return torch.tensor(2.0 * np.sqrt(np.maximum(square, 0.0)), dtype=torch.float32)


def _positions(grid):
    """Return x, y, z of the voxels, to broadcast."""
    z, y, x = (
        (np.arange(n) - 0.5 * (n - 1)) * side
        for n, side in zip(grid.shape, grid.voxel_mm, strict=True)
    )
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _assert_is_the_ball(volume, grid, tolerance=0.05, axes=(0, 1, 2)):
    values = volume.numpy().astype(np.float64)
    offsets = [p - c for p, c in zip(_positions(grid), CENTRE, strict=True)]
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


def _assert_is_centred_in_the_plane(volume, axis):
    """Off the orbit's plane Feldkamp's approximation is lopsided where rays are weighted.

    By 0.3 mm here, by 0.08 mm with the source at 800 mm; in the plane it is exact.
    """
    positions = [np.broadcast_to(p, volume.shape) for p in _positions(COARSE)]
    offsets = [p - c for p, c in zip(positions, CENTRE, strict=True)]
    near = volume.numpy() * (sum(o**2 for o in offsets) < (RADIUS + 8) ** 2)
    near[np.abs(positions[axis]) > 2] = 0
    for i in {0, 1, 2} - {axis}:
        assert float((near * offsets[i]).sum() / near.sum()) == pytest.approx(0, abs=0.06)


CIRCLE = ConeGeometry.circular_orbit(
    num_views=180,
    source_origin_mm=200.0,
    origin_detector_mm=100.0,
    detector_shape=(90, 96),
    pixel_mm=(1.5, 1.5),
)


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


def _orbit_around_x(vectors):
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return (vectors.reshape(-1, 4, 3) @ turn.T).reshape(-1, 12), (90, 96)


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
        _orbit_around_x,
        _yawed_detector,
        _uneven_views,
    ],
)
def test_fdk_gives_the_ball_back_for_any_circle(change):
    vectors, shape = change(CIRCLE.vectors.copy())
    geometry = ConeGeometry(vectors, shape)
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), _cone_projections(geometry))
    _assert_is_the_ball(volume, COARSE)


def _short_scan(vectors):
    return np.roll(vectors, 30, axis=0)[:105]  # 208°: 180° and the fan of the detector's columns


def _longer_scan_backwards(vectors):
    return vectors[120::-1]


def _short_scan_in_any_order(vectors):
    return np.random.default_rng(0).permutation(vectors[20:132])


def _uneven_short_scan(vectors):
    return vectors[np.r_[0:30, 30:70:2, 70:110]]


@pytest.mark.parametrize(
    "views",
    [_short_scan, _longer_scan_backwards, _short_scan_in_any_order, _uneven_short_scan],
)
@pytest.mark.parametrize("turn", [False, True])
def test_fdk_gives_the_ball_back_from_a_short_scan(views, turn):
    vectors = views(CIRCLE.vectors.copy())
    vectors, shape = _orbit_around_x(vectors) if turn else (vectors, (90, 96))
    geometry = ConeGeometry(vectors, shape)
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), _cone_projections(geometry))
    _assert_is_the_ball(volume, COARSE, axes=())
    _assert_is_centred_in_the_plane(volume, 0 if turn else 2)


@pytest.mark.parametrize("side", [-1, 1])
def test_fdk_gives_the_ball_back_from_a_displaced_detector(side):
    vectors = CIRCLE.vectors.copy()
    vectors[:, 3:6] += side * 28 * vectors[:, 6:9]  # from 6 columns beside the axis on
    geometry = ConeGeometry(vectors, (90, 72))
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), _cone_projections(geometry))
    _assert_is_the_ball(volume, COARSE, axes=())
    _assert_is_centred_in_the_plane(volume, 2)


def test_slabs_know_how_far_the_whole_object_reaches():
    from partunroll.initial.initial_slabs import filtered_slabs

    vectors, _ = _orbit_around_x(CIRCLE.vectors[::6].copy())
    vectors[:, 3:6] += 28 * vectors[:, 6:9]
    operator = ConeBeam(COARSE, ConeGeometry(vectors, (90, 72)), "numba")
    y = _cone_projections(operator.geometry)
    slabs = torch.cat(list(filtered_slabs(operator, y, 12, "ramp")))
    torch.testing.assert_close(slabs, fdk(operator, y), rtol=1e-4, atol=1e-5)


def test_fdk_gives_the_ball_back():
    volume = fdk(ConeBeam(GRID, CIRCLE, "numba"), _cone_projections(CIRCLE))
    _assert_is_the_ball(volume, GRID, tolerance=0.02)


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
    x_mm, y_mm, _ = _positions(COARSE)
    inside = np.hypot(x_mm, y_mm)[0] < RADIUS - 4
    np.testing.assert_allclose(volume[:, inside], 1.0, atol=0.02)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_keep_the_mean(window):
    volume = fdk(ConeBeam(COARSE, CIRCLE, "numba"), _cone_projections(CIRCLE), window)
    _assert_is_the_ball(volume, COARSE)


def test_fdk_knows_the_grid():
    grid = Grid((20, 26, 30), (2.2, 2.2, 2.2))
    volume = fdk(ConeBeam(grid, CIRCLE, "numba"), _cone_projections(CIRCLE))
    _assert_is_the_ball(volume, grid)


@pytest.mark.parametrize(
    ("num_views", "range_deg", "axis_column"),
    [(180, 180.0, 47.5), (180, 360.0, 45.2), (91, 182.0, 50.75)],
)
def test_fbp_gives_the_ball_back(num_views, range_deg, axis_column):
    angles = np.deg2rad(-88.0 + np.arange(num_views) * range_deg / num_views)
    geometry = ParallelGeometry(angles, 96, 0.8, axis_column)
    operator = ParallelBeam(GRID, geometry, "numba")
    _assert_is_the_ball(fbp(operator, _parallel_projections(geometry, GRID)), GRID)


def test_fbp_in_2d_is_a_slice_of_3d():
    geometry = ParallelGeometry(np.arange(60) * np.pi / 60, 80, 1.0, 40.2)
    y = _parallel_projections(geometry, GRID)
    volume = fbp(ParallelBeam(GRID, geometry, "numba"), y)
    flat = ParallelBeam(Grid((64, 64), (1.0, 1.0)), geometry, "numba")
    torch.testing.assert_close(fbp(flat, y[:, 35]), volume[35])


def test_slabs_and_batches_change_nothing(monkeypatch):
    small = Grid((16, 16, 16), (4.0,) * 3)
    y = torch.stack([_cone_projections(CIRCLE), torch.zeros(CIRCLE.num_views, 90, 96)])
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


def test_a_short_scan_without_the_fan_is_refused():
    geometry = ConeGeometry(CIRCLE.vectors[:100], (90, 96))
    with pytest.raises(InputError, match=r"180° and the fan's angle, 20[56]\.\d°, got 198\.0°"):
        fdk(ConeBeam(GRID, geometry, "numba"), torch.zeros(100, 90, 96))


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
