import math
import pickle

import numba
import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.operators import joseph_parallel
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry

EIGHTHS = np.arange(8) * math.pi / 4  # whole 45°: ties between the main axes x and y
GEOMETRIES = {
    "2d": ((5, 6), ParallelGeometry(EIGHTHS, 9, 1.1)),
    "3d": ((4, 5, 6), ParallelGeometry(EIGHTHS + 0.1, 8, 0.9, axis_column=2.3)),
    "truncated": ((5, 6), ParallelGeometry(EIGHTHS, 3, 1.0)),
    "off_the_detector": ((3, 5, 6), ParallelGeometry(EIGHTHS, 4, 1.0, axis_column=6.0)),
}


@pytest.fixture(params=GEOMETRIES)
def operator(request):
    shape, geometry = GEOMETRIES[request.param]
    return ParallelBeam(Grid(shape, (1.0,) * len(shape)), geometry)


def rand(grid, dtype=torch.float64, seed=0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, *grid.shape, generator=generator, dtype=dtype)


def dense(operator):
    n = operator.domain.num_samples
    units = torch.eye(n, dtype=torch.float64).reshape(n, *operator.domain.shape)
    return operator.forward(units).reshape(n, -1).T


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(12, 11), (7, 12, 11)])
def test_adjoint_passes_the_dot_test(shape, dtype, limit):
    grid = Grid(shape, (0.5,) * len(shape))
    A = ParallelBeam(grid, ParallelGeometry(EIGHTHS + 0.05, 13, 0.6))
    x, y = rand(A.domain, dtype), rand(A.range, dtype, 1)
    Ax, Aty = A.forward(x), A.adjoint(y)
    assert Ax.dtype == Aty.dtype == dtype
    left = torch.vdot(Ax.double().ravel(), y.double().ravel())
    right = torch.vdot(x.double().ravel(), Aty.double().ravel())
    assert Ax.norm() > 0
    assert (left - right).abs() < limit * Ax.double().norm() * y.double().norm()


def test_normal_equals_the_dense_matrix(operator):
    A, x = dense(operator), rand(operator.domain)
    expected = (A.T @ A @ x.ravel()).reshape(x.shape)
    torch.testing.assert_close(operator.normal(x), expected, rtol=0, atol=1e-12 * expected.norm())


def test_volume_is_projected_slice_by_slice():
    geometry = ParallelGeometry(EIGHTHS, 9, 1.1)
    plane = ParallelBeam(Grid((5, 6), (1.0, 1.0)), geometry)
    volume = ParallelBeam(Grid((4, 5, 6), (3.0, 1.0, 1.0)), geometry)
    x = rand(volume.domain)
    y = volume.forward(x)
    assert y.shape == (8, 4, 9)
    assert torch.equal(y[:, 2], plane.forward(x[2]))
    assert torch.equal(volume.adjoint(y)[3], plane.adjoint(y[:, 3]))


def patches_of(shape):
    corner = Patch((0,) * len(shape), (2,) * len(shape))
    edge = Patch((0,) * (len(shape) - 1) + (shape[-1] - 1,), (*shape[:-1], 1))
    middle = Patch((1, 2, 3)[-len(shape) :], (2, 3, 2)[-len(shape) :])
    return [corner, edge, middle, Patch.whole(shape)]


@pytest.mark.parametrize("which", range(4), ids=["corner", "edge", "middle", "whole"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_restricted_is_bitwise_the_embedded_operator(operator, which, dtype):
    shape, detector = operator.domain.shape, operator.range.shape[1:]
    patch = patches_of(shape)[which]
    part = operator.restricted(patch)
    x, y = rand(part.domain, dtype), rand(operator.range, dtype, 1)
    expected = operator.forward(patch.embed(x, shape))
    assert torch.equal(part.windows.embed(part.forward(x), detector), expected)
    back = part.adjoint(part.windows.extract(y))
    assert torch.equal(back, patch.extract(operator.adjoint(y)))


@pytest.mark.parametrize("which", range(4), ids=["corner", "edge", "middle", "whole"])
def test_restricted_equals_the_dense_columns(operator, which):
    shape, patch = operator.domain.shape, patches_of(operator.domain.shape)[which]
    part, A = operator.restricted(patch), dense(operator)
    P = patch.extract(torch.arange(operator.domain.num_samples).reshape(shape)).ravel()
    rows = part.windows.extract(torch.arange(len(A)).reshape(operator.range.shape)).ravel()
    expected = torch.zeros(len(A), len(P), dtype=A.dtype)
    expected[rows] = dense(part)
    assert torch.equal(A[:, P], expected)


def test_restricted_sees_only_a_window():
    A = ParallelBeam(Grid((30, 64, 64), (1.0,) * 3), ParallelGeometry(EIGHTHS, 96, 1.0))
    views, rows, columns = A.restricted(Patch((3, 2, 50), (4, 5, 6))).range.shape
    assert (views, rows) == (8, 4)
    assert columns <= 13


def test_restricted_of_restricted_is_the_inner_patch():
    A = ParallelBeam(Grid((4, 5, 6), (1.0,) * 3), GEOMETRIES["3d"][1])
    nested = A.restricted(Patch((1, 0, 2), (3, 4, 4))).restricted(Patch((1, 2, 0), (2, 2, 3)))
    direct, x = A.restricted(Patch((2, 2, 2), (2, 2, 3))), rand(nested.domain)
    assert torch.equal(nested.forward(x), direct.forward(x))
    assert torch.equal(nested.normal(x), direct.normal(x))


def gaussian(grid, centre, sigma):
    """A blob at `centre` (xy, mm) in a plane."""
    y, x = torch.meshgrid(
        *[
            (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * side
            for n, side in zip(grid.shape, grid.voxel_mm, strict=True)
        ],
        indexing="ij",
    )
    return torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))


def test_line_integrals_converge_to_those_of_a_gaussian():
    """Joseph's interpolation is of second order: half the voxels, a quarter of the error."""
    geometry, centre, sigma = ParallelGeometry(EIGHTHS + 0.2, 12, 0.4, 4.0), (0.5, -0.3), 0.6
    sin, cos = geometry.directions.T[:, :, None]
    s = (np.arange(12) - 4.0) * 0.4 - centre[0] * cos - centre[1] * sin
    exact = torch.from_numpy(math.sqrt(2 * math.pi) * sigma * np.exp(-(s**2) / (2 * sigma**2)))
    errors = []
    for n in (20, 40):
        A = ParallelBeam(Grid((n, n), (6.4 / n,) * 2), geometry)
        y = A.forward(gaussian(A.domain, centre, sigma))
        errors.append(float((y - exact).abs().max() / exact.max()))
    assert errors[1] < 0.01
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize("threads", [2, 7])
def test_bitwise_the_same_for_any_number_of_threads(operator, threads, monkeypatch):
    x, y = rand(operator.domain, torch.float32), rand(operator.range, torch.float32, 1)
    available = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        Ax, Aty = operator.forward(x), operator.adjoint(y)
        numba.set_num_threads(available)
        monkeypatch.setattr(joseph_parallel, "get_num_threads", lambda: threads)  # as many slabs
        assert torch.equal(operator.forward(x), Ax)
        assert torch.equal(operator.adjoint(y), Aty)
    finally:
        numba.set_num_threads(available)


def test_batches_go_through_one_by_one(operator):
    x = rand(operator.domain, batch=(2, 3))
    y = operator.forward(x)
    assert y.shape == (2, 3, *operator.range.shape)
    assert torch.equal(y[1, 2], operator.forward(x[1, 2]))
    assert torch.equal(operator.adjoint(y)[0, 1], operator.adjoint(y[0, 1]))


def test_backward_pass_is_the_adjoint(operator):
    x, w = rand(operator.domain).requires_grad_(), rand(operator.range, seed=1)
    (operator.forward(x) * w).sum().backward()
    assert torch.equal(x.grad, operator.adjoint(w))


@pytest.mark.parametrize("axis_column", [None, 9.75])
def test_refined_projects_the_same_object(axis_column):
    A = ParallelBeam(Grid((16, 16), (0.4, 0.4)), ParallelGeometry(EIGHTHS, 18, 0.5, axis_column))
    fine = A.refined(2)
    assert fine.domain == Grid((32, 32), (0.2, 0.2))
    assert fine.range.shape == (8, 36)
    y = fine.forward(gaussian(fine.domain, (0.5, -0.3), 1.2))
    binned = y.reshape(8, 18, 2).mean(-1)
    coarse = A.forward(gaussian(A.domain, (0.5, -0.3), 1.2))
    assert (binned - coarse).abs().max() < 0.02 * coarse.max()


def test_refined_volume_has_finer_rows():
    A = ParallelBeam(Grid((4, 5, 6), (3.0, 1.0, 1.0)), ParallelGeometry(EIGHTHS, 9, 1.0))
    assert A.refined(2).domain == Grid((8, 10, 12), (1.5, 0.5, 0.5))
    assert A.refined(2).range.shape == (8, 8, 18)


def test_a_worker_process_can_be_given_the_operator(operator):
    copy, x = pickle.loads(pickle.dumps(operator)), rand(operator.domain)  # noqa: S301 - our own bytes
    assert torch.equal(copy.forward(x), operator.forward(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 4, 1.0), "angles_rad must be"),
        (([0.0, math.inf], 4, 1.0), "angles_rad must be .* got .*inf"),
        (([0.0], 0, 1.0), "num_columns must be at least 1, got 0"),
        (([0.0], 4, -1.0), "column_mm must be a positive length, got -1.0"),
        (([0.0], 4, 1.0, math.nan), "axis_column must be finite, got nan"),
    ],
)
def test_geometry_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        ParallelGeometry(*arguments)


@pytest.mark.parametrize(
    "grid", [Grid((5, 6)), Grid((5, 6), (1.0, 2.0)), Grid((5,), (1.0,)), Grid((2, 2, 2, 2))]
)
def test_operator_refuses_the_domain(grid):
    with pytest.raises(InputError, match=r"domain must have the axes .* got shape"):
        ParallelBeam(grid, ParallelGeometry([0.0], 4, 1.0))


def test_operator_refuses_what_it_cannot_do(operator):
    with pytest.raises(InputError, match="backend must be one of auto, astra, numba, got 'gpu'"):
        ParallelBeam(operator.domain, operator.geometry, backend="gpu")
    with pytest.raises(InputError, match=r"x must be float32 or float64, got torch\.int64"):
        operator.forward(torch.zeros(operator.domain.shape, dtype=torch.int64))
    with pytest.raises(InputError, match="must be whole to be refined"):
        operator.restricted(patches_of(operator.domain.shape)[0]).refined(2)
