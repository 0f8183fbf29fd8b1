"""A reconstruction on disk equals the one in memory."""

import numpy as np
import pytest
import torch
from tests.partunroll.reconstruction.small_scan import SHAPE, STEPS

from normalfit.slab_memory import slab_bytes
from normalfit.slabs import SlabFactors
from partunroll.errors import InputError
from partunroll.initial.initial_estimate import least_squares_estimate
from partunroll.reconstruction.stored_estimate import store_estimate
from partunroll.reconstruction.work_folder import opened


def close(found, wanted):
    return found is wanted if wanted is None else found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("stored", "in_memory"),
    [
        ({}, {}),
        ({"normal": "factors", "refresh": 2}, {"normal": "factors"}),
        (
            {"normal": "factors", "refresh": 3, "stages": 1},
            {"normal": "factors", "refresh": 3, "stages": 1},
        ),
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


def test_corrected_patches_are_those_in_memory_where_steps_solve(scan, tmp_path):
    scan.network.cg_iterations = 3
    scan.network.step_sizes = 20 * torch.tensor(STEPS)
    expected = scan.in_memory(patch_normal="corrected")
    final = scan.on_disk(tmp_path / "work", patch_normal="corrected")[1]
    np.testing.assert_allclose(final, expected.final.numpy(), rtol=1e-4, atol=2e-5)
    exact = scan.in_memory(patch_normal="restricted")
    assert (expected.final - exact.final).abs().max() > 1e-3  # the factors are rough


def test_factors_in_memory_and_in_a_file_are_the_same(scan, tmp_path):
    from_file = scan.on_disk(tmp_path / "a", normal="factors", refresh=2)[1]
    options = {"normal": "factors", "refresh": 2, "factors": scan.factors}
    from_memory = scan.on_disk(tmp_path / "b", **options)[1]
    np.testing.assert_allclose(from_file, from_memory, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("normal", "refresh"), [("exact", 1), ("factors", 1), ("factors", 2)])
def test_proximal_steps_are_those_in_memory(scan, tmp_path, normal, refresh):
    scan.network.cg_iterations = 3
    scan.network.step_sizes = 20 * torch.tensor(STEPS)
    options = {"normal": normal, "refresh": refresh, "stages": 1}
    expected = scan.in_memory(**options)
    result, final, _ = scan.on_disk(tmp_path / "work", **options)
    np.testing.assert_allclose(final, expected.final.numpy(), rtol=1e-4, atol=2e-5)
    for found, wanted in zip(result.history, expected.history, strict=True):
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-4)
        assert close(found.residual_norm, wanted.residual_norm)
    left = {path.name for path in (tmp_path / "work").iterdir() if path.is_dir()}
    assert left == {"initial_estimate", "iterate-3"}
    scan.network.cg_iterations = 0
    gradient = scan.on_disk(tmp_path / "gradient", **options)[1]
    assert np.abs(gradient - final).max() > 1e-3  # far above the tolerance: the steps solve


@pytest.mark.parametrize("intensity", [None, 0.5, "auto"])
def test_the_estimate_of_least_squares_is_that_in_memory(scan, tmp_path, intensity):
    expected = least_squares_estimate(scan.operator, scan.y)
    with opened(tmp_path / "work", {}, SHAPE, np.dtype(np.float32)) as work:
        scale, reach = store_estimate(None, scan.operator, scan.y, work, 5, intensity)
        stored = work.volume("initial_estimate")[:]
    x0, own = stored * scale, float(np.percentile(np.abs(stored), 99.9))
    # of what is stored: twenty steps amplify the rounding of sums, 4e-4 on some processors
    assert reach == pytest.approx(own, rel=1e-5)
    assert scale == pytest.approx({None: 1.0, "auto": own * scale}.get(intensity, intensity))
    assert intensity != "auto" or reach == pytest.approx(1, rel=1e-5)
    largest = float(np.percentile(expected.abs().numpy(), 99.9))
    np.testing.assert_allclose(x0, expected.numpy(), rtol=1e-3, atol=1e-3 * largest)
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
