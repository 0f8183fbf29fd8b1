"""A reconstruction on disk equals the one in memory, and goes on after a kill, bit for bit."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.slab_memory import slab_bytes
from normalfit.slabs import SlabFactors
from normalfit.spectral_norm import SpectralNorm
from partunroll.errors import InputError, MismatchError
from partunroll.initial.initial_estimate import least_squares_estimate
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.reconstruction.stored_estimate import store_estimate
from partunroll.reconstruction.stored_problem import StoredProblem
from partunroll.reconstruction.stored_reconstruction import reconstruct_stored
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.reconstruction.work_folder import WorkFolder, opened
from partunroll.store import data_store_header

SHAPE = (17, 7, 8)
STEPS = (0.7, 0.5, 0.9)


class SmallNetwork(nn.Module):
    """A prior of one convolution and a nonlinearity that may be interrupted at any batch."""

    cg_iterations = 0

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = torch.randn(1, 1, 3, 3, 3, generator=generator) * 0.1
        self.step_sizes = torch.tensor(STEPS)
        self.calls_left = None

    def prior(self, x):
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise KeyboardInterrupt
        padded = nn.functional.pad(x[:, None], (1,) * 6, mode="replicate")
        return torch.tanh(nn.functional.conv3d(padded, self.weight))[:, 0] + x

    def forward(self, initial_estimate, initial_gradient, normal):
        problem = PatchProblem(initial_estimate, initial_gradient, normal)
        x = initial_estimate
        for step_size in self.step_sizes:
            x = self.prior(x - step_size * problem.gradient(x))
        return x


class Scan:
    """A small cone beam, rough factors of it with limited lags, in memory and in a file."""

    def __init__(self, folder):
        geometry = ConeGeometry.circular_orbit(
            num_views=8, source_origin_mm=60.0, origin_detector_mm=30.0,
            detector_shape=(30, 18), pixel_mm=(1.5, 1.5),
        )  # fmt: skip
        self.operator = ConeBeam(Grid(SHAPE, (1.0,) * 3), geometry, "numba")
        generator = torch.Generator().manual_seed(2)
        x = torch.rand(SHAPE, generator=generator)
        self.y = self.operator.forward(x)
        self.x0 = x + 0.1 * torch.randn(SHAPE, generator=generator)
        lags = torch.rand(1, 5, 5, 5, generator=generator)
        u = torch.rand(1, *SHAPE, generator=generator)
        self.factors = Factors(LagKernel(lags, SHAPE, ("linear",) * 3), u, u)
        self.norm = 3000.0
        metadata = FactorMetadata(None, "0" * 64, SpectralNorm(self.norm, True, 1), 0.0)
        self.file = save_factors(folder / "factors.zarr", self.factors, metadata)
        self.network = SmallNetwork()

    def in_memory(self, **options):
        return reconstruct(
            self.network, self.operator, self.y, self.factors, self.norm, self.x0,
            **{"patch_shape": 6, **options},
        )  # fmt: skip

    def on_disk(self, folder, *, factors=None, identity=None, blend="hann", **options):
        windows = overlapping_windows(
            SHAPE, options.pop("patch_shape", 6), options.pop("overlap", None), blend=blend
        )
        with opened(folder, identity or {"of": "test"}, SHAPE, np.dtype(np.float32)) as work:
            work.save("initial_estimate", self.x0)
            problem = StoredProblem(
                self.operator, self.y, work.volume("initial_estimate"), self.norm,
                factors or self.file, planes=5, slab_bytes=slab_bytes(self.factors.kernel, 1, 10),
            )  # fmt: skip
            result = reconstruct_stored(self.network, problem, windows, work, **options)
            return result, result.final[:], result.stage1[:]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(data_store_header, "VOLUME_CHUNK", 4)


@pytest.fixture
def scan(tmp_path):
    return Scan(tmp_path)


def close(found, wanted):
    return found is wanted if wanted is None else found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("stored", "in_memory"),
    [
        ({}, {}),
        ({"refresh": 2}, {"normal": "factors"}),
        ({"refresh": 3, "stages": 1}, {"normal": "factors", "refresh": 3, "stages": 1}),
        ({"patch_normal": "exact"}, {"patch_normal": "exact"}),
        ({"patch_normal": "full"}, {"patch_normal": "full"}),
        ({"patch_shape": (1, 6, 8)}, {"patch_shape": (1, 6, 8)}),
        ({"patch_shape": (6, 1, 6), "blend": "crop"}, {"patch_shape": (6, 1, 6), "blend": "crop"}),
        ({"blend": "crop", "overlap": 4}, {"blend": "crop", "overlap": 4}),
        ({"blend": "gaussian", "overlap": "half"}, {"blend": "gaussian", "overlap": "half"}),
    ],
)
def test_on_disk_equals_in_memory(scan, tmp_path, stored, in_memory):
    expected = scan.in_memory(**in_memory)
    result, final, stage1 = scan.on_disk(tmp_path / "work", **stored)
    np.testing.assert_allclose(final, expected.final.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stage1, expected.stage1.numpy(), rtol=1e-4, atol=1e-5)
    assert (expected.final - scan.x0).abs().max() > 0.01
    for name in ("history", "patch_history"):
        pairs = zip(getattr(result, name), getattr(expected, name), strict=True)
        for found, wanted in pairs:
            assert found.step_size == wanted.step_size
            assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-4)
            assert close(found.residual_norm, wanted.residual_norm)
    for name in ("residual_norm", "final_residual_norm"):
        assert close(getattr(result, name), getattr(expected, name))
    assert result.num_patches == expected.num_patches


def test_factors_in_memory_and_in_a_file_are_the_same(scan, tmp_path):
    from_file = scan.on_disk(tmp_path / "a", refresh=2)[1]
    from_memory = scan.on_disk(tmp_path / "b", refresh=2, factors=scan.factors)[1]
    np.testing.assert_allclose(from_file, from_memory, rtol=1e-5, atol=1e-6)


def test_an_interrupted_reconstruction_goes_on_bit_for_bit(scan, tmp_path):
    """Interrupted after 3 to 10 calls of the prior; stage 2 has three for every batch."""
    whole, final, stage1 = scan.on_disk(tmp_path / "whole", refresh=2, batch=8)
    interruptions, calls = 0, itertools.count(1)
    while True:
        scan.network.calls_left = 3 + next(calls) % 8
        try:
            resumed, *volumes = scan.on_disk(tmp_path / "cut", refresh=2, batch=8)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 60
    assert interruptions > 3
    np.testing.assert_array_equal(volumes[0], final)
    np.testing.assert_array_equal(volumes[1], stage1)
    assert resumed.history == whole.history
    assert resumed.patch_history == whole.patch_history


def test_what_is_finished_is_not_computed_again(scan, tmp_path):
    final = scan.on_disk(tmp_path / "work")[1]
    scan.network.calls_left = 0
    np.testing.assert_array_equal(scan.on_disk(tmp_path / "work")[1], final)


def test_in_memory_iterations_are_kept_too(scan, tmp_path):
    whole = scan.in_memory(normal="factors")

    def resumable():
        with opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32)) as work:
            return scan.in_memory(normal="factors", work=work)

    calls = len(overlapping_windows(SHAPE, 6).patches) // 2
    scan.network.calls_left = 2 * calls + 1  # two iterations are behind, and one call of the third
    with pytest.raises(KeyboardInterrupt):
        resumable()
    scan.network.calls_left = 4 * calls  # of six: one of stage 1, three of stage 2 are left
    resumed = resumable()
    assert torch.equal(resumed.final, whole.final)
    assert resumed.history == whole.history


def test_another_reconstruction_does_not_go_on(scan, tmp_path):
    scan.on_disk(tmp_path / "work", stages=1)
    with pytest.raises(MismatchError, match="got one with of test, not other"):
        scan.on_disk(tmp_path / "work", identity={"of": "other"})


def test_two_processes_do_not_share_a_work_folder(tmp_path):
    def work():
        return opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32))

    with work(), pytest.raises(InputError, match="another process works"), work():
        pass


def test_volumes_on_disk_are_deleted_when_nothing_reads_them(scan, tmp_path):
    scan.on_disk(tmp_path / "work", refresh=2)
    left = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert left == {"initial_estimate", "iterate-3", "residual_backprojection", "refined"}


@pytest.mark.parametrize("refresh", [1, 2])
def test_proximal_steps_are_those_in_memory(scan, tmp_path, refresh):
    scan.network.cg_iterations = 3
    scan.network.step_sizes = 20 * torch.tensor(STEPS)
    expected = scan.in_memory(
        normal="exact" if refresh == 1 else "factors", refresh=refresh, stages=1
    )
    result, final, _ = scan.on_disk(tmp_path / "work", refresh=refresh, stages=1)
    np.testing.assert_allclose(final, expected.final.numpy(), rtol=1e-4, atol=2e-5)
    for found, wanted in zip(result.history, expected.history, strict=True):
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-4)
        assert close(found.residual_norm, wanted.residual_norm)
    left = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert left == {"initial_estimate", "iterate-3"}
    scan.network.cg_iterations = 0
    gradient = scan.on_disk(tmp_path / "gradient", refresh=refresh, stages=1)[1]
    assert np.abs(gradient - final).max() > 1e-3  # far above the tolerance: the steps solve


def test_interrupted_proximal_steps_go_on_bit_for_bit(scan, tmp_path, monkeypatch):
    """Interrupted at every second thing that is finished: amid conjugate gradients, too."""
    scan.network.cg_iterations = 2
    whole = scan.on_disk(tmp_path / "whole", stages=1)[1]
    finish, left = WorkFolder.finish, 0

    def interrupted(folder, name, **facts):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        finish(folder, name, **facts)

    monkeypatch.setattr(WorkFolder, "finish", interrupted)
    interruptions = 0
    while True:
        left = 2
        try:
            found = scan.on_disk(tmp_path / "cut", stages=1)[1]
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 30
    assert interruptions > 5
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("intensity", [None, 0.5, "auto"])
def test_the_estimate_of_least_squares_is_that_in_memory(scan, tmp_path, intensity):
    expected = least_squares_estimate(scan.operator, scan.y)
    reach = float(np.percentile(expected.abs().numpy(), 99.9))
    scale = {None: 1.0, "auto": reach}.get(intensity, intensity)
    with opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32)) as work:
        found = store_estimate(None, scan.operator, scan.y, work, 5, intensity)
        assert found == pytest.approx((scale, reach / scale), rel=1e-4)
        x0 = work.volume("initial_estimate")[:] * scale
    np.testing.assert_allclose(x0, expected.numpy(), rtol=1e-3, atol=1e-3 * reach)
    left = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert left == {"initial_estimate"}


def test_the_estimate_of_nothing_is_zero(scan, tmp_path):
    with opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32)) as work:
        y = torch.zeros_like(scan.y)
        assert store_estimate(None, scan.operator, y, work, 5, None) == (1.0, 0.0)
        assert not work.volume("initial_estimate")[:].any()
    with (
        pytest.raises(InputError, match="intensity_per_mm must be a positive number, got 0"),
        opened(tmp_path / "auto", {}, SHAPE, np.dtype(np.float32)) as work,
    ):
        store_estimate(None, scan.operator, y, work, 5, "auto")
    assert not (tmp_path / "auto").exists()  # it would stand in the way of a number


@pytest.mark.parametrize("journal", ["", "{}", "[1]", '{"identity": 1, "finished": 2}'])
def test_a_damaged_journal_is_named(scan, tmp_path, journal):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "journal.json").write_text(journal)
    with pytest.raises(InputError, match=r"journal\.json must be the journal of a reconstruction"):
        scan.on_disk(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(scan, tmp_path):
    (tmp_path / "work").write_text("")
    with pytest.raises(InputError, match="must be free for a work folder"):
        scan.on_disk(tmp_path / "work")


@pytest.mark.parametrize("too_large", ["elements", "memory"])
def test_factors_in_memory_whose_padded_fft_is_too_large_go_by_slabs(scan, monkeypatch, too_large):
    expected = scan.in_memory(normal="factors", stages=1).final
    if too_large == "elements":  # of 20 × 9 × 10 points
        monkeypatch.setattr("normalfit.lag_grid.MAX_ELEMENTS", 1400)
        monkeypatch.setattr("normalfit.slab_memory.MAX_ELEMENTS", 1400)
    else:
        allowed = slab_bytes(scan.factors.kernel, 1, 10)
        monkeypatch.setattr(
            "partunroll.reconstruction.volume_problem.total_bytes", lambda _: 2 * allowed
        )
    slabs, apply = [], SlabFactors._slab

    def watched(*arguments):
        slabs.append(arguments[2])
        return apply(*arguments)

    monkeypatch.setattr(SlabFactors, "_slab", watched)
    found = scan.in_memory(normal="factors", stages=1).final
    assert len(slabs) > 1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_result_that_is_not_finite_is_refused(scan, tmp_path):
    scan.network.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="reconstruction must be finite"):
        scan.on_disk(tmp_path / "work")
    assert not (tmp_path / "work").exists()  # it would stand in the way of a mended network
