"""Line integrals of a field along the rays of a scan, against the projector of the same scan."""

import math

import numpy as np
import pytest
import torch

from normalfit.grid import Grid, Patch
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.deconvolution import Deconvolution
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from partunroll.implicit.line_integrals import line_integrals
from partunroll.implicit.rendering import field_of_view
from partunroll.implicit.scan_rays import scan_rays

CPU = torch.device("cpu")


def orbit(detector_shape, pixel_mm=2.5, **options):
    return ConeGeometry.circular_orbit(
        num_views=7,
        source_origin_mm=150.0,
        origin_detector_mm=80.0,
        detector_shape=detector_shape,
        pixel_mm=(pixel_mm, pixel_mm),
        **options,
    )


def shifted_orbit():
    """Return vectors that no circular orbit has: the detector shifted and turned, source raised."""
    vectors = np.array(orbit((40, 36)).vectors)
    vectors[:, 2] += np.linspace(-20, 20, len(vectors))
    vectors[:, 3:6] += 3 * vectors[:, 6:9] - 2 * vectors[:, 9:12]
    u, v = vectors[:, 6:9].copy(), vectors[:, 9:12].copy()
    turn = math.radians(20)
    vectors[:, 6:9] = math.cos(turn) * u + math.sin(turn) * v
    vectors[:, 9:12] = math.cos(turn) * v - math.sin(turn) * u
    return ConeGeometry(vectors, (40, 36))


PARALLEL = ParallelGeometry(np.deg2rad([0.0, 17.0, 45.0, 90.0, 131.0]), 40, 1.1, axis_column=17.3)
OPERATORS = {
    "cone": ConeBeam(Grid((20, 24, 28), (1.5,) * 3), orbit((40, 36))),
    "cone_vec": ConeBeam(Grid((20, 24, 28), (1.5,) * 3), shifted_orbit()),
    "fan": ConeBeam(Grid((1, 24, 28), (1.5,) * 3), orbit((1, 36), angle_start_deg=11.0)),
    "parallel 2-D": ParallelBeam(Grid((28, 24), (1.5, 1.5)), PARALLEL),
    "parallel 3-D": ParallelBeam(Grid((4, 28, 24), (2.0, 1.5, 1.5)), PARALLEL),
}


def blob(grid):
    """Return a smooth object as a field, away from the faces of all but a thin axis."""
    centre = torch.tensor([0.45 * n for n in grid.shape])
    width = torch.tensor([math.inf if n < 5 else n / 8 for n in grid.shape])
    return lambda p: torch.exp(-0.5 * ((p - centre) / width).square().sum(-1, keepdim=True))


def on_voxels(field, grid):
    axes = [torch.arange(float(n)) for n in grid.shape]
    return field(torch.cartesian_prod(*axes)).reshape(grid.shape)


@pytest.mark.parametrize("name", OPERATORS)
def test_rays_of_the_geometry_see_what_the_projector_sees(name):
    operator = OPERATORS[name]
    field = blob(operator.domain)
    y = operator.forward(on_voxels(field, operator.domain))
    rays = scan_rays(operator, CPU).batch(torch.arange(y.numel()))
    middles = line_integrals(field, rays, 0.5).reshape(y.shape)
    assert float((middles - y).norm() / y.norm()) < 0.015
    generator = torch.Generator().manual_seed(0)
    jittered = line_integrals(field, rays, 0.5, generator).reshape(y.shape)
    assert not torch.equal(jittered, middles)
    assert float((jittered - y).norm() / y.norm()) < 0.02


def test_rays_come_in_any_order():
    rays = scan_rays(OPERATORS["cone_vec"], CPU)
    whole = rays.batch(torch.arange(7 * 40 * 36))
    some = torch.tensor([5000, 3, 9999, 3])
    part = rays.batch(some)
    assert torch.equal(part.start, whole.start[some])
    assert torch.equal(part.length_mm, whole.length_mm[some])


def test_a_ray_along_an_axis_has_the_length_of_the_box():
    operator = ParallelBeam(
        Grid((6, 8), (2.0, 2.0)), ParallelGeometry(np.deg2rad([0.0, 90.0]), 9, 2.0)
    )
    lengths = scan_rays(operator, CPU).batch(torch.arange(18)).length_mm.reshape(2, 9)
    along_y, along_x = lengths.tolist()
    assert along_y[4] == pytest.approx(12.0)
    assert along_x[4] == pytest.approx(16.0)
    assert along_y[0] == pytest.approx(12.0)  # on the face of the volume
    assert along_x[0] == 0.0


def test_constant_fields_are_integrated_exactly_whatever_the_places():
    rays = scan_rays(OPERATORS["cone"], CPU).batch(torch.arange(3 * 40 * 36))
    generator = torch.Generator().manual_seed(1)
    ones = line_integrals(lambda p: torch.ones_like(p[:, :1]), rays, 1.7, generator)
    torch.testing.assert_close(ones, rays.length_mm)
    assert (rays.length_mm > 0).any()
    assert (rays.length_mm == 0).any()


def test_samples_lie_inside_the_volume():
    operator = OPERATORS["cone_vec"]
    rays = scan_rays(operator, CPU).batch(torch.arange(7 * 40 * 36))
    seen = []

    def field(positions):
        seen.append(positions)
        return positions[:, :1]

    line_integrals(field, rays, 1.0, torch.Generator())
    positions = seen[0]
    shape = torch.tensor(operator.domain.shape)
    assert ((positions > -0.5 - 1e-3) & (positions < shape - 0.5 + 1e-3)).all()


def test_other_operators_have_no_rays():
    patch = Patch((0, 0, 0), (8, 8, 8))
    blur = Deconvolution(Grid((8, 8)), torch.ones(3, 3) / 9)
    assert scan_rays(blur, CPU) is None
    assert scan_rays(OPERATORS["cone"].restricted(patch), CPU) is None


def test_field_of_view_leaves_out_what_no_ray_meets():
    operator = ConeBeam(Grid((12, 24, 24), (1.5,) * 3), orbit((8, 40), pixel_mm=1.5))
    seen = field_of_view(operator, CPU)
    assert seen[6, 12, 12]
    assert not seen[0].any()  # above the detector's 8 rows
