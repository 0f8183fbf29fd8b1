import math
import pickle

import numba
import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.linear_operator import LinearOperator
from normalfit.operators import joseph_cone_fast, joseph_cone_general
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry

SHAPE = (4, 5, 6)


def orbit(num_views=8, detector_shape=(8, 9), **changes):
    """Views at multiples of 45°: the central rays are ties between the main axes x and y."""
    sizes = {"source_origin_mm": 14.0, "origin_detector_mm": 7.0, "pixel_mm": (1.2, 1.1)}
    return ConeGeometry.circular_orbit(
        num_views=num_views, detector_shape=detector_shape, **{**sizes, **changes}
    )


def tilted(geometry, u_z=0.0, v_xy=0.0):
    vectors = geometry.vectors.copy()
    vectors[:, 8] += u_z
    vectors[:, 9:11] += v_xy
    return ConeGeometry(vectors, geometry.detector_shape)


def from_above():
    """Rays along z and the two diagonals in between: main axis z, and ties of z with x and y."""
    views = [
        [0.3, -0.2, 20, 0.1, 0.2, -9, 1.1, 0, 0, 0, 1.2, 0],
        [15, 0.0, 15, -8, 0, -8, 0, 1.3, 0, -0.8, 0, 0.8],
        [0, 15.0, -15, 0, -8, 8, 1.3, 0, 0, 0, 0.8, 0.8],
    ]
    return ConeGeometry(np.array(views), (7, 8))


GEOMETRIES = {
    "fast": orbit(),
    "tilted": tilted(orbit(), u_z=0.2, v_xy=0.1),
    "from_above": from_above(),
    "fine_rows": orbit(detector_shape=(25, 9), pixel_mm=(0.3, 1.1)),
    "truncated": orbit(detector_shape=(3, 4)),
    "wide_cone": orbit(num_views=3, source_origin_mm=5.0, pixel_mm=(3.0, 1.1)),
    "raised": ConeGeometry(orbit().vectors + np.array([0, 0, 1.7] * 2 + [0] * 6), (8, 9)),
}


IS_FAST = {"fast": True, "fine_rows": True, "truncated": True, "raised": True}


@pytest.fixture(params=GEOMETRIES)
def kind(request):
    return request.param


@pytest.fixture
def operator(kind):
    return make(kind)


def make(kind, shape=SHAPE, voxel_mm=1.0):
    return ConeBeam(Grid(shape, (voxel_mm,) * 3), GEOMETRIES[kind])


def rand(grid, dtype=torch.float64, seed=0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, *grid.shape, generator=generator, dtype=dtype)


def dense(operator: LinearOperator):
    n = operator.domain.num_samples
    units = torch.eye(n, dtype=torch.float64).reshape(n, *operator.domain.shape)
    return operator.forward(units).reshape(n, -1).T


def test_each_geometry_takes_the_path_it_is_meant_to_test(kind):
    assert joseph_cone_fast.covers(GEOMETRIES[kind]) == IS_FAST.get(kind, False)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_adjoint_passes_the_dot_test(kind, dtype, limit):
    A = make(kind, (11, 12, 10), voxel_mm=0.5)
    x, y = rand(A.domain, dtype), rand(A.range, dtype, 1)
    Ax, Aty = A.forward(x), A.adjoint(y)
    assert Ax.dtype == Aty.dtype == dtype
    gap = torch.vdot(Ax.double().ravel(), y.double().ravel()) - torch.vdot(
        x.double().ravel(), Aty.double().ravel()
    )
    assert Ax.norm() > 0
    assert gap.abs() < limit * Ax.double().norm() * y.double().norm()


def test_normal_equals_the_dense_matrix(operator):
    A, x = dense(operator), rand(operator.domain)
    expected = (A.T @ A @ x.ravel()).reshape(x.shape)
    torch.testing.assert_close(operator.normal(x), expected, rtol=0, atol=1e-12 * expected.norm())


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (5, 4, 1)])
def test_fast_path_has_the_matrix_of_the_general_path(shape):
    grid = Grid(shape, (0.9,) * 3)
    fast = ConeBeam(grid, orbit())
    general = ConeBeam(grid, tilted(orbit(), u_z=1e-14))
    assert not joseph_cone_fast.covers(general.geometry)
    torch.testing.assert_close(dense(fast), dense(general), rtol=0, atol=1e-10)


PATCHES = {
    "corner": Patch((0, 0, 0), (2, 2, 3)),
    "far_corner": Patch((2, 3, 3), (2, 2, 3)),
    "edge": Patch((0, 1, 5), (4, 3, 1)),
    "voxel": Patch((2, 2, 2), (1, 1, 1)),
    "whole": Patch((0, 0, 0), SHAPE),
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_restricted_is_bitwise_the_embedded_operator(operator, patch, dtype):
    part, detector = operator.restricted(patch), operator.range.shape[1:]
    x, y = rand(part.domain, dtype), rand(operator.range, dtype, 1)
    expected = operator.forward(patch.embed(x, SHAPE))
    assert torch.equal(part.windows.embed(part.forward(x), detector), expected)
    back = part.adjoint(part.windows.extract(y))
    assert torch.equal(back, patch.extract(operator.adjoint(y)))


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_restricted_equals_the_dense_columns(operator, patch):
    n, part = operator.domain.num_samples, operator.restricted(patch)
    A, P = dense(operator), patch.extract(torch.arange(n).reshape(SHAPE)).ravel()
    rows = part.windows.extract(torch.arange(len(A)).reshape(operator.range.shape)).ravel()
    expected = torch.zeros(len(A), len(P), dtype=A.dtype)
    expected[rows] = dense(part)
    assert torch.equal(A[:, P], expected)


def test_restricted_sees_only_a_window():
    A = ConeBeam(
        Grid((64, 64, 64), (0.1,) * 3), orbit(detector_shape=(80, 90), pixel_mm=(0.1, 0.1))
    )
    rows, columns = A.restricted(Patch((30, 2, 50), (4, 4, 4))).windows.shape
    assert rows < 20
    assert columns < 20


def test_restricted_of_restricted_is_the_inner_patch(operator):
    outer, inner = Patch((1, 0, 2), (3, 4, 4)), Patch((1, 2, 0), (2, 2, 3))
    both = Patch((2, 2, 2), (2, 2, 3))
    x = rand(Grid(inner.shape))
    nested, direct = operator.restricted(outer).restricted(inner), operator.restricted(both)
    assert torch.equal(nested.forward(x), direct.forward(x))
    assert torch.equal(nested.normal(x), direct.normal(x))


def test_patch_that_no_ray_meets_gives_zero():
    geometry = ConeGeometry(orbit(detector_shape=(2, 2)).vectors, (2, 2))
    part = ConeBeam(Grid((40, 5, 6), (1.0,) * 3), geometry).restricted(Patch((0, 0, 0), (2, 2, 2)))
    assert not part.forward(torch.ones(part.domain.shape)).any()


@pytest.mark.parametrize("tilt", [0.0, 0.2], ids=["fast", "general"])
@pytest.mark.parametrize("side", [1, -1])
def test_rays_begin_at_the_source(side, tilt):
    """The source is above a wide, thin volume: rays that rise would meet it behind the source."""
    view = [0, 0, 5.0, side * 20, 0, 5.0, 0, 1, 0, 0, tilt, 2]
    A = ConeBeam(Grid((3, 9, 30), (1.0,) * 3), ConeGeometry(np.array([view]), (11, 9)))
    assert joseph_cone_fast.covers(A.geometry) == (tilt == 0)
    seen = A.adjoint(torch.ones(A.range.shape)).flip(-1 if side < 0 else ())
    assert seen[..., 20:].any()
    assert not seen[..., :14].any()
    behind = A.restricted(Patch((0, 0, 0 if side > 0 else 20), (3, 9, 10)))
    assert not behind.forward(torch.ones(behind.domain.shape)).any()


def gaussian(grid, centre, sigma):
    """A blob at `centre` (xyz, mm), sampled at the voxel centres."""
    axes = [
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * side
        for n, side in zip(grid.shape, grid.voxel_mm, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return torch.exp(-squares / (2 * sigma**2))


def gaussian_integrals(geometry, centre, sigma):
    rows, columns = geometry.detector_shape
    r = (np.arange(rows) - (rows - 1) / 2)[:, None, None]
    c = (np.arange(columns) - (columns - 1) / 2)[:, None]
    integrals = []
    for vector in geometry.vectors:
        source, detector, u, v = vector.reshape(4, 3)
        ray = detector + r * v + c * u - source
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        distance = np.linalg.norm(np.cross(ray, np.array(centre) - source), axis=-1)
        integrals.append(math.sqrt(2 * math.pi) * sigma * np.exp(-(distance**2) / (2 * sigma**2)))
    return torch.from_numpy(np.stack(integrals))


def test_line_integrals_converge_to_those_of_a_gaussian(kind):
    """Joseph's interpolation is of second order: half the voxels, a quarter of the error."""
    centre, sigma, errors = (0.5, -0.3, 0.4), 0.6, []
    for n in (20, 40):
        A = ConeBeam(Grid((n, n, n), (6.4 / n,) * 3), GEOMETRIES[kind])
        exact = gaussian_integrals(A.geometry, centre, sigma)
        y = A.forward(gaussian(A.domain, centre, sigma))
        errors.append(float((y - exact).abs().max() / exact.max()))
    assert errors[1] < 0.02
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize("kind", ["fast", "tilted"])
@pytest.mark.parametrize("threads", [2, 7])
def test_bitwise_the_same_for_any_number_of_threads(kind, threads, monkeypatch):
    A = make(kind, (9, 9, 9))
    x, y = rand(A.domain, torch.float32), rand(A.range, torch.float32, 1)
    available = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        Ax, Aty = A.forward(x), A.adjoint(y)
        numba.set_num_threads(available)
        for module in (joseph_cone_fast, joseph_cone_general):
            monkeypatch.setattr(module, "get_num_threads", lambda: threads)  # as many slabs
        assert torch.equal(A.forward(x), Ax)
        assert torch.equal(A.adjoint(y), Aty)
    finally:
        numba.set_num_threads(available)


def test_batches_go_through_one_by_one(operator):
    x = rand(operator.domain, batch=(2, 3))
    y = operator.forward(x)
    assert y.shape == (2, 3, *operator.range.shape)
    assert torch.equal(y[1, 2], operator.forward(x[1, 2]))
    assert torch.equal(operator.adjoint(y)[0, 1], operator.adjoint(y[0, 1]))
    assert operator.forward(x.movedim(-1, -2).movedim(-1, -2)).equal(y)


def test_backward_pass_is_the_adjoint(operator):
    x, w = rand(operator.domain).requires_grad_(), rand(operator.range, seed=1)
    (operator.forward(x) * w).sum().backward()
    assert torch.equal(x.grad, operator.adjoint(w))
    y = w.clone().requires_grad_()
    (operator.adjoint(y) * x.detach()).sum().backward()
    assert torch.equal(y.grad, operator.forward(x.detach()))


def test_refined_projects_the_same_object():
    grid, centre, sigma = Grid((16, 16, 16), (0.4,) * 3), (0.5, -0.3, 0.4), 1.2
    A = ConeBeam(grid, orbit(detector_shape=(16, 18), pixel_mm=(0.6, 0.55)))
    fine = A.refined(2)
    assert fine.domain == Grid((32, 32, 32), (0.2,) * 3)
    assert fine.range.shape == (8, 32, 36)
    y = fine.forward(gaussian(fine.domain, centre, sigma))
    binned = torch.nn.functional.avg_pool2d(y, 2)
    coarse = A.forward(gaussian(grid, centre, sigma))
    assert (binned - coarse).abs().max() < 0.02 * coarse.max()


def test_fan_beam_is_one_slice_and_one_row():
    A = ConeBeam(Grid((1, 9, 8), (1.0,) * 3), orbit(detector_shape=(1, 12)))
    x = rand(A.domain).abs()
    assert A.range.shape == (8, 1, 12)
    assert A.forward(x).sum() > 0
    patch = Patch((0, 2, 3), (1, 4, 4))
    part = A.restricted(patch)
    assert torch.equal(
        part.normal(patch.extract(x)),
        patch.extract(A.normal(patch.embed(patch.extract(x), A.domain.shape))),
    )


def test_a_worker_process_can_be_given_the_operator(operator):
    copy, x = pickle.loads(pickle.dumps(operator)), rand(operator.domain)  # noqa: S301 - our own bytes
    assert torch.equal(copy.forward(x), operator.forward(x))


def test_operator_refuses_what_it_cannot_do():
    A = make("fast")
    with pytest.raises(InputError, match="backend must be one of auto, astra, numba, got 'cuda'"):
        ConeBeam(A.domain, A.geometry, backend="cuda")
    with pytest.raises(InputError, match=r"x must be float32 or float64, got torch\.float16"):
        A.forward(torch.zeros(SHAPE, dtype=torch.float16))
    with pytest.raises(InputError, match="patch must lie inside"):
        A.restricted(Patch((3, 0, 0), (2, 2, 2)))
    with pytest.raises(InputError, match="must be whole to be refined"):
        A.restricted(PATCHES["corner"]).refined(2)
    with pytest.raises(InputError, match=r"factor must be .* got 0"):
        A.refined(0)
