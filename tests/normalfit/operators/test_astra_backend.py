"""ASTRA as an oracle, and our use of it: all that can be checked without a GPU, and what cannot."""

import functools
import math
import sys

import numpy as np
import pytest
import torch

from normalfit.errors import BackendError
from normalfit.grid import Grid, Patch
from normalfit.operators import astra_backend
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry

astra = pytest.importorskip("astra")
astra_experimental = pytest.importorskip("astra.experimental")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ANGLES = np.linspace(0, math.pi, 7, endpoint=False) + 0.03


def cone_beam(shape=(5, 6, 7), detector_shape=(8, 9), backend="numba"):
    orbit = ConeGeometry.circular_orbit(
        num_views=7,
        source_origin_mm=4.0 * shape[-1],
        origin_detector_mm=2.0 * shape[-1],
        detector_shape=detector_shape,
        pixel_mm=(1.4, 1.3),
        angle_start_deg=3.0,
    )
    return ConeBeam(Grid(shape, (1.0,) * 3), orbit, backend)


def parallel_beam(shape, backend="numba"):
    grid = Grid(shape, (2.0, 0.8, 0.8)[-len(shape) :])
    return ParallelBeam(grid, ParallelGeometry(ANGLES, 10, 0.7, axis_column=4.1), backend)


def rand(grid, dtype=torch.float64, seed=0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, *grid.shape, generator=generator, dtype=dtype)


def dense(operator):
    n = operator.domain.num_samples
    units = torch.eye(n, dtype=torch.float64).reshape(n, *operator.domain.shape)
    return operator.forward(units).reshape(n, -1).T


def test_plane_has_the_matrix_of_astra_s_joseph_projector():
    """ASTRA's 2-D rows run downwards in y, in 3-D they run upwards, as ours do in both."""
    A = parallel_beam((7, 8))
    geometry, half_y, half_x = A.geometry, 7 * 0.4, 8 * 0.4
    sin, cos = geometry.directions.T
    s = (4.5 - 4.1) * 0.7
    vectors = np.stack([sin, -cos, s * cos, s * sin, 0.7 * cos, 0.7 * sin], axis=1)
    grid = astra.create_vol_geom(7, 8, -half_x, half_x, -half_y, half_y)
    scan = astra.create_proj_geom("parallel_vec", 10, vectors)
    projector = astra.create_projector("linear", scan, grid)
    matrix = astra.projector.matrix(projector)
    theirs = astra.matrix.get(matrix).toarray().reshape(7 * 10, 7, 8)[:, ::-1].reshape(70, 56)
    astra.matrix.delete(matrix)
    astra.projector.delete(projector)
    np.testing.assert_allclose(dense(A).numpy(), theirs, atol=1e-5)


def test_orbit_has_astra_s_vectors():
    ours = cone_beam().geometry
    angles = np.deg2rad(3 + np.arange(7) * 360 / 7)
    scan = astra.create_proj_geom("cone", 1.3, 1.4, 8, 9, angles, 28.0, 14.0)
    theirs = astra.functions.geom_2vec(scan)["Vectors"]
    np.testing.assert_allclose(ours.vectors, theirs, atol=1e-12)


def test_parallel_beam_has_astra_s_vectors():
    A = ParallelBeam(Grid((4, 5, 6), (2.0, 0.8, 0.8)), ParallelGeometry(ANGLES, 10, 0.7))
    scan = astra.create_proj_geom("parallel3d", 0.7, 2.0, 4, 10, ANGLES)
    theirs = astra.functions.geom_2vec(scan)["Vectors"]
    np.testing.assert_allclose(A._astra().vectors, theirs, atol=1e-12)


def numba_operator(projector):
    """The numba operator of what an ASTRA projector was given."""
    scan = astra.projector3d.projection_geometry(projector)
    grid = astra.projector3d.volume_geometry(projector)
    shape = tuple(grid[f"Grid{axis}Count"] for axis in ("Slice", "Row", "Col"))
    faces = np.array(
        [[grid["options"][f"Window{end}{axis}"] for axis in "XYZ"] for end in ("Min", "Max")]
    )
    voxel_mm = ((faces[1] - faces[0])[::-1] / shape).round(6).tolist()  # ASTRA keeps float32
    vectors = np.array(scan["Vectors"]).reshape(-1, 12)
    detector_shape = (scan["DetectorRowCount"], scan["DetectorColCount"])
    if scan["type"] == "cone_vec":
        vectors[:, :6] -= np.tile(faces.mean(axis=0), 2)  # our volumes are centred
        return ConeBeam(Grid(shape, voxel_mm), ConeGeometry(vectors, detector_shape))
    vectors[:, 3:6] -= faces.mean(axis=0)
    cos, sin = vectors[:, 6], vectors[:, 7]
    width_mm = np.hypot(cos, sin)
    offsets = (vectors[:, 3] * cos + vectors[:, 4] * sin) / width_mm**2
    assert np.allclose(vectors[:, 5], 0)
    assert np.allclose(vectors[:, 9:], [0, 0, voxel_mm[0]])
    return [
        ParallelBeam(
            Grid(shape, voxel_mm),
            ParallelGeometry(
                [math.atan2(v[0], -v[1])], detector_shape[1], width, (detector_shape[1] - 1) / 2 - o
            ),
        )
        for v, width, o in zip(vectors, width_mm, offsets, strict=True)
    ]


@pytest.fixture
def emulated(monkeypatch):
    """ASTRA on host memory: everything is its own but the two projections, which numba makes."""
    calls = []

    def accumulate(direction, projector, volume_id, sinogram_id):
        calls.append((volume_id, sinogram_id))
        volume = torch.from_numpy(astra.data3d.get_shared(volume_id))
        sinogram = torch.from_numpy(astra.data3d.get_shared(sinogram_id))
        operator = numba_operator(projector)
        operators = operator if isinstance(operator, list) else [operator]
        views = sinogram.movedim(1, 0).split([A.range.shape[0] for A in operators])
        for A, part in zip(operators, views, strict=True):
            if direction == "FP":
                part += A.forward(volume)
            else:
                volume += A.adjoint(part)

    monkeypatch.setattr(astra_backend, "require_gpu", lambda: None)
    monkeypatch.setattr(astra_backend, "_on_gpu", lambda x: x.to(torch.float32).contiguous())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(astra, "set_gpu_index", lambda index: None)
    for direction in ("FP", "BP"):
        name = f"accumulate_{direction}"
        monkeypatch.setattr(astra_experimental, name, functools.partial(accumulate, direction))
    return calls


OPERATORS = {
    "cone": cone_beam(),
    "cone_patch": cone_beam((9, 9, 9), (20, 21)).restricted(Patch((1, 5, 2), (3, 4, 5))),
    "plane": parallel_beam((7, 8)),
    "plane_patch": parallel_beam((9, 9)).restricted(Patch((5, 2), (3, 4))),
    "volume": parallel_beam((3, 7, 8)),
    "volume_patch": parallel_beam((6, 9, 9)).restricted(Patch((1, 5, 2), (2, 3, 4))),
}


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_astra_is_given_the_geometry_and_the_axes_of_the_operator(operator, emulated):
    x, y = rand(operator.domain, batch=(2,)), rand(operator.range, batch=(2,))
    Ax = operator._astra().forward(x).reshape(2, *operator.range.shape)
    Aty = operator._astra().adjoint(y).reshape(2, *operator.domain.shape)
    assert Ax.dtype == Aty.dtype == torch.float64
    torch.testing.assert_close(Ax, operator.forward(x), rtol=0, atol=1e-4)
    torch.testing.assert_close(Aty, operator.adjoint(y), rtol=0, atol=1e-4)
    assert len(emulated) == 4


def test_links_are_deleted(emulated):
    A = OPERATORS["cone"]
    A._astra().forward(torch.ones(1, *A.domain.shape))
    for link in emulated[0]:
        with pytest.raises(Exception, match="not found"):
            astra.data3d.dimensions(link)


def test_one_column_is_refused(emulated):
    A = cone_beam(detector_shape=(4, 1))
    with pytest.raises(BackendError, match="at least 2 entries for ASTRA, got 7 and 1"):
        A._astra().forward(torch.ones(1, *A.domain.shape))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("make", [cone_beam, lambda backend: parallel_beam((5, 6), backend)])
def test_astra_without_a_gpu_is_refused(make):
    with pytest.raises(BackendError, match=r"must have .* a CUDA GPU, got .*; use backend 'numba'"):
        make(backend="astra")
    A = make(backend="auto")
    assert A.backend == "numba"
    assert A.has_exact_adjoint
    with pytest.raises(BackendError, match="CUDA GPU"):  # never reach ASTRA: it would end Python
        A._astra().forward(torch.ones(1, *A.domain.shape))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "astra", None)
    with pytest.raises(BackendError, match=r"no package astra .* install normalfit\[astra\]"):
        cone_beam(backend="astra")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("backend", ["astra", "auto"])
@pytest.mark.parametrize(
    "make",
    [
        lambda backend: cone_beam((48, 48, 48), (64, 66), backend),
        lambda backend: parallel_beam((48, 48), backend),
        lambda backend: parallel_beam((8, 48, 48), backend),
    ],
    ids=["cone", "plane", "volume"],
)
def test_astra_on_the_gpu_agrees_with_numba(make, backend):
    A, B = make(backend), make("numba")
    assert not A.has_exact_adjoint
    host = blob(A.domain.shape)
    x = host.cuda()
    y = A.forward(x)
    assert y.device == x.device
    assert distance(y.cpu(), B.forward(host)) < 0.03
    assert distance(A.adjoint(y).cpu(), B.adjoint(y.cpu())) < 0.1
    assert A.forward(x.double()).dtype == torch.float64


@pytest.mark.gpu
@needs_gpu
def test_restriction_on_the_gpu_sees_the_patch():
    A = cone_beam((48, 48, 48), (64, 66), "astra")
    patch = Patch((10, 20, 5), (24, 20, 30))
    part, x = A.restricted(patch), blob(patch.shape).cuda()
    expected = part.windows.extract(A.forward(patch.embed(x, A.domain.shape)))
    assert distance(part.forward(x), expected) < 0.03


def blob(shape):
    axes = [torch.arange(n) - (n - 1) / 2 for n in shape]
    x = torch.ones(())
    for axis, n in zip(axes, shape, strict=True):
        x = x[..., None] * torch.exp(-18 * (axis / n) ** 2)
    return x


def distance(a, b):
    return float((a - b).norm() / b.norm())
