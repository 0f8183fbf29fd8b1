import numba
import numpy as np
import pytest
import torch

from normalfit.grid import Grid, Patch
from normalfit.operators import joseph_cone_fast, joseph_fan
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry

SHAPE = (1, 11, 9)


def geometry(num_rows=1, raised_mm=0.0):
    """Central rays at multiples of 45° among them; the detector sees no corner."""
    orbit = ConeGeometry.circular_orbit(
        num_views=16, detector_shape=(num_rows, 10), source_origin_mm=12.0,
        origin_detector_mm=7.0, pixel_mm=(1.2, 1.4),
    )  # fmt: skip
    raised = orbit.vectors + np.array([0, 0, raised_mm] * 2 + [0] * 6)
    return ConeGeometry(raised, orbit.detector_shape)


def fan(shape=SHAPE):
    return ConeBeam(Grid(shape, (0.8,) * 3), geometry(), backend="numba")


def rand(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_cone(A, x, y):
    """Return projections and backprojections of the cone-beam kernels, slice by slice."""
    rays, offset, shape = A._rays(), A._box.offset[::-1], A._box.shape[::-1]
    forward = [joseph_cone_fast.project(slice_.numpy(), rays, offset) for slice_ in x]
    back = [joseph_cone_fast.backproject(part.numpy(), rays, offset, shape) for part in y]
    return torch.from_numpy(np.stack(forward)), torch.from_numpy(np.stack(back))


@pytest.fixture(params=[None, Patch((0, 3, 2), (1, 5, 6))], ids=["whole", "patch"])
def operator(request):
    return fan() if request.param is None else fan().restricted(request.param)


def test_only_rays_that_stay_in_one_slice_are_taken():
    assert joseph_fan.covers(geometry(), 1)
    assert not joseph_fan.covers(geometry(), 2)
    assert not joseph_fan.covers(geometry(num_rows=2), 1)
    assert not joseph_fan.covers(geometry(raised_mm=0.1), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3])
def test_batches_are_bitwise_those_of_the_cone_beam(operator, batch, dtype):
    x = rand(batch, *operator.domain.shape, dtype=dtype)
    y = rand(batch, *operator.range.shape, dtype=dtype, seed=1)
    Ax, Aty = by_cone(operator, x, y)
    assert Ax.count_nonzero() > 0
    assert torch.equal(operator.forward(x), Ax)
    assert torch.equal(operator.adjoint(y), Aty)
    assert operator.forward(x).dtype == operator.adjoint(y).dtype == dtype


def test_batches_are_projected_by_one_kernel(monkeypatch):
    called, project = [], joseph_fan.project

    def watched(slices, rays, offset):
        called.append(len(slices))
        return project(slices, rays, offset)

    monkeypatch.setattr(joseph_fan, "project", watched)
    fan().forward(rand(5, *SHAPE))
    assert called == [5]


def test_a_patch_has_the_weights_of_the_whole():
    A, patch = fan(), Patch((0, 3, 2), (1, 5, 6))
    part = A.restricted(patch)
    x = rand(*patch.shape)
    placed = torch.zeros(SHAPE, dtype=torch.float64)
    placed[patch.slices] = x
    whole, windows = A.forward(placed), part.forward(x)
    assert float(whole.norm()) == pytest.approx(float(windows.norm()), rel=1e-14)
    torch.testing.assert_close(part.normal(x), A.normal(placed)[patch.slices], rtol=0, atol=1e-12)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(monkeypatch, threads):
    A, x, available = fan(), rand(2, *SHAPE), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        Ax = A.forward(x)
        Aty = A.adjoint(Ax)
        numba.set_num_threads(available)
        monkeypatch.setattr(joseph_fan, "get_num_threads", lambda: threads)  # as many slabs
        assert torch.equal(A.forward(x), Ax)
        assert torch.equal(A.adjoint(Ax), Aty)
    finally:
        numba.set_num_threads(available)
