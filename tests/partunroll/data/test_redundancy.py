"""FDK weights rays that some views measure twice: short scans, displaced detectors."""

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

from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from partunroll.errors import InputError
from partunroll.initial.fdk import fdk


def _assert_is_centred_in_the_plane(volume, axis):
    """Off the orbit's plane Feldkamp's approximation is lopsided where rays are weighted.

    By 0.3 mm here, by 0.08 mm with the source at 800 mm; in the plane it is exact.
    """
    places = [np.broadcast_to(p, volume.shape) for p in positions(COARSE)]
    offsets = [p - c for p, c in zip(places, CENTRE, strict=True)]
    near = volume.numpy() * (sum(o**2 for o in offsets) < (RADIUS + 8) ** 2)
    near[np.abs(places[axis]) > 2] = 0
    for i in {0, 1, 2} - {axis}:
        assert float((near * offsets[i]).sum() / near.sum()) == pytest.approx(0, abs=0.06)


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
    vectors, shape = orbit_around_x(vectors) if turn else (vectors, (90, 96))
    geometry = ConeGeometry(vectors, shape)
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), cone_projections(geometry))
    assert_is_the_ball(volume, COARSE, axes=())
    _assert_is_centred_in_the_plane(volume, 0 if turn else 2)


@pytest.mark.parametrize("side", [-1, 1])
def test_fdk_gives_the_ball_back_from_a_displaced_detector(side):
    vectors = CIRCLE.vectors.copy()
    vectors[:, 3:6] += side * 28 * vectors[:, 6:9]  # from 6 columns beside the axis on
    geometry = ConeGeometry(vectors, (90, 72))
    volume = fdk(ConeBeam(COARSE, geometry, "numba"), cone_projections(geometry))
    assert_is_the_ball(volume, COARSE, axes=())
    _assert_is_centred_in_the_plane(volume, 2)


def test_slabs_know_how_far_the_whole_object_reaches():
    from partunroll.initial.initial_slabs import filtered_slabs

    vectors, _ = orbit_around_x(CIRCLE.vectors[::6].copy())
    vectors[:, 3:6] += 28 * vectors[:, 6:9]
    operator = ConeBeam(COARSE, ConeGeometry(vectors, (90, 72)), "numba")
    y = cone_projections(operator.geometry)
    slabs = torch.cat(list(filtered_slabs(operator, y, 12, "ramp")))
    torch.testing.assert_close(slabs, fdk(operator, y), rtol=1e-4, atol=1e-5)


def test_a_short_scan_without_the_fan_is_refused():
    geometry = ConeGeometry(CIRCLE.vectors[:100], (90, 96))
    with pytest.raises(InputError, match=r"180° and the fan's angle, 20[56]\.\d°, got 198\.0°"):
        fdk(ConeBeam(GRID, geometry, "numba"), torch.zeros(100, 90, 96))
