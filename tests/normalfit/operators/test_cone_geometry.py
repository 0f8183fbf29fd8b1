"""Geometry of a cone beam: the circular orbit, and views that are refused."""

import math

import numpy as np
import pytest

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry


def orbit(num_views=8, detector_shape=(8, 9), **changes):
    """Views at multiples of 45°: the central rays are ties between the main axes x and y."""
    sizes = {"source_origin_mm": 14.0, "origin_detector_mm": 7.0, "pixel_mm": (1.2, 1.1)}
    return ConeGeometry.circular_orbit(
        num_views=num_views, detector_shape=detector_shape, **{**sizes, **changes}
    )


def test_orbit_is_astra_s():
    """At θ = 0 the source is at -y, columns run along x and rows along z."""
    geometry = orbit(num_views=4)
    assert geometry.source[0].tolist() == [0, -14, 0]
    np.testing.assert_allclose(geometry.source[1], [14, 0, 0], atol=1e-12)
    np.testing.assert_allclose(geometry.detector[1], [-7, 0, 0], atol=1e-12)
    np.testing.assert_allclose(geometry.u[1], [0, 1.1, 0], atol=1e-12)
    assert geometry.v[1].tolist() == [0, 0, 1.2]


def broken(**changes):
    vectors = orbit().vectors.copy()
    for slot, value in changes.items():
        start = {"source": 0, "detector": 3, "u": 6, "v": 9}[slot]
        vectors[2, start : start + 3] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "detector_shape", "message"),
    [
        (np.zeros((3, 11)), (8, 9), r"\(views, 12\).*got \(3, 11\)"),
        (np.zeros((0, 12)), (8, 9), r"at least one view, got \(0, 12\)"),
        (orbit().vectors, (0, 9), r"detector_shape .* got \(0, 9\)"),
        (orbit().vectors, (8, 9, 1), r"detector_shape .* got \(8, 9, 1\)"),
        (broken(u=(math.nan, 0, 0)), (8, 9), r"finite, got .*nan.* in view 2"),
        (broken(u=(0, 0, 2.0)), (8, 9), r"u and v must be two directions.* in view 2"),
        (broken(v=(0, 0, 0)), (8, 9), r"u and v must be two directions.* in view 2"),
        (
            broken(source=(0, 7.0, 3.0), detector=(1, 7.0, 0), u=(1, 0, 0)),
            (8, 9),
            r"outside the plane.* in view 2",
        ),
    ],
)
def test_geometry_refuses(vectors, detector_shape, message):
    with pytest.raises(InputError, match=message):
        ConeGeometry(vectors, detector_shape)


@pytest.mark.parametrize(
    "changes", [{"num_views": 0}, {"source_origin_mm": -1.0}, {"pixel_mm": (1.0, math.nan)}]
)
def test_orbit_refuses(changes):
    with pytest.raises(InputError, match="positive counts and lengths, got"):
        orbit(**changes)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid((4, 5, 6)), "cubic voxels of a known size, got .* None"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.0)), "cubic voxels"),
        (Grid((5, 6), (1.0, 1.0)), "three axes"),
        (Grid((4, 30, 30), (1.0,) * 3), r"source must lie outside the volume .* in view 0"),
    ],
)
def test_operator_refuses_the_domain(grid, message):
    with pytest.raises(InputError, match=message):
        ConeBeam(grid, orbit())
