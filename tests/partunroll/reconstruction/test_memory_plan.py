"""Volumes stay on disk where they do not fit, and slabs of them are as thick as fits."""

import pytest
import torch

from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from partunroll.configuration.train_config import PriorConfig, UnrolledConfig
from partunroll.errors import InputError
from partunroll.initial.fbp import fbp
from partunroll.initial.fdk import fdk
from partunroll.initial.initial_slabs import filtered_slabs
from partunroll.memory_size import parse_memory, resident_bytes
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.reconstruction import memory_plan
from partunroll.reconstruction.memory_plan import load_code, plan_memory


def cone(shape):
    geometry = ConeGeometry.circular_orbit(
        num_views=9, source_origin_mm=300.0, origin_detector_mm=100.0,
        detector_shape=(24, 30), pixel_mm=(1.5, 1.5),
    )  # fmt: skip
    return ConeBeam(Grid(shape, (1.0,) * 3), geometry, "numba")


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(memory_plan, "resident_bytes", lambda: 100 * 2**20)
    operator = cone((128, 128, 128))
    windows = overlapping_windows(operator.domain.shape, 32)
    network = UnrolledConfig(prior=PriorConfig(dim=3, widths=(8, 8, 8, 8)))
    options = {"batch": 2, "normal": "exact"}
    return lambda nbytes, **more: plan_memory(
        nbytes, operator, windows, network, None, **options, **more
    )


def test_the_volumes_go_to_disk_when_they_do_not_fit(plan):
    volumes = 8 * 2**20  # of 128³
    assert not plan(None).on_disk
    assert not plan(300 * 2**20).on_disk
    little, more = plan(140 * 2**20), plan(150 * 2**20)
    assert little.on_disk
    assert 1 <= little.planes < more.planes < 128
    assert 0 < little.slab_bytes < more.slab_bytes < 5 * volumes


def test_normals_of_whole_volumes_leave_less_for_slabs(plan):
    by_slabs = plan(190 * 2**20)
    by_volumes = plan(190 * 2**20, whole_normals=True)
    assert by_volumes.on_disk
    assert by_volumes.slab_bytes < by_slabs.slab_bytes - 2 * 8 * 2**20  # of two volumes at least
    with pytest.raises(InputError, match="max_memory must be at least"):
        plan(140 * 2**20, whole_normals=True)


def test_too_little_is_refused_naming_what_is_needed(plan):
    with pytest.raises(InputError, match=r"max_memory must be at least 1[0-9]+ MiB .* 110 MiB"):
        plan(110 * 2**20)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8G", 8 * 2**30), ("1.5 GiB", 3 * 2**29), ("512m", 2**29), ("100", 100), (None, None)],
)
def test_amounts_of_memory(text, nbytes):
    assert parse_memory(text) == nbytes


@pytest.mark.parametrize("text", ["", "0", "G", "-1G", "8 GX", "nan"])
def test_what_is_no_amount(text):
    with pytest.raises(InputError, match="max_memory must be an amount"):
        parse_memory(text)


def test_proximal_steps_take_more_volumes(plan):
    memory = [nbytes * 2**20 for nbytes in range(160, 300, 2)]
    gradient = next(nbytes for nbytes in memory if not plan(nbytes).on_disk)
    solving = UnrolledConfig(cg_iterations=2, prior=PriorConfig(dim=3, widths=(8, 8, 8, 8)))
    windows = overlapping_windows((128, 128, 128), 32)
    assert plan_memory(
        gradient, cone((128, 128, 128)), windows, solving, None, batch=2, normal="exact"
    ).on_disk


def test_code_that_is_not_loaded_yet_is_loaded_before_memory_is_counted():
    """Compiled projectors and libraries took 280 MiB that --max-memory did not know of."""
    from partunroll.network.networks import build_network

    network = build_network(UnrolledConfig(prior=PriorConfig(dim=3, widths=(2, 2, 2, 2))))
    called = []
    network.prior.register_forward_hook(lambda *_: called.append("prior"))
    operator = cone((12, 12, 12))
    windows = overlapping_windows(operator.domain.shape, 8)
    load_code(operator, network, windows, torch.device("cpu"))
    assert called == ["prior"]


def test_this_process_holds_something():
    assert resident_bytes() > 2**20


@pytest.mark.parametrize("planes", [3, 5, 100])
def test_slabs_of_filtered_backprojection_are_those_of_the_whole(planes):
    operator = cone((11, 8, 9))
    y = torch.rand(operator.range.shape, generator=torch.Generator().manual_seed(1))
    found = torch.cat(list(filtered_slabs(operator, y, planes)))
    torch.testing.assert_close(found, fdk(operator, y, "hann"), rtol=1e-4, atol=1e-6)
    geometry = ParallelGeometry(torch.arange(10).numpy() * 0.314159, 13, 1.0)
    operator = ParallelBeam(Grid((11, 8, 9), (1.0,) * 3), geometry, "numba")
    y = torch.rand(operator.range.shape, generator=torch.Generator().manual_seed(2))
    found = torch.cat(list(filtered_slabs(operator, y, planes)))
    torch.testing.assert_close(found, fbp(operator, y, "hann"), rtol=1e-4, atol=1e-6)


def test_least_squares_is_refused_in_slabs():
    operator = cone((11, 8, 9))
    y = torch.zeros(operator.range.shape)
    with pytest.raises(InputError, match="method must be filtered backprojection"):
        next(filtered_slabs(operator, y, 3, method="least-squares"))
