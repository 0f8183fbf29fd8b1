"""Both stages against the formulas they stand for, on an operator whose factors are exact."""

import pytest
import torch

from normalfit.factors import Factors
from normalfit.restriction import restrict_batch
from partunroll.configuration.train_config import PostProcessingConfig, PriorConfig, UnrolledConfig
from partunroll.errors import InputError
from partunroll.network.networks import build_network
from partunroll.patches.blended_patches import blend_patches, extract, overlapping_windows
from partunroll.patches.patch_gradient import initial_gradient

SHAPE = (9, 10)
STEP_SIZES = (0.7, 0.5, 0.9, 0.6, 0.8)  # of the scene's network


def wrong_factors(factors):
    return Factors(factors.kernel.scaled(0.8))


def unpatched(scene, num_iterations=5):
    """``x ← D(x − η (A*A x − A*y) / norm)`` as it stands in the paper."""
    x, backprojection = scene.x0, scene.operator.adjoint(scene.y)
    for step_size in scene.network.step_sizes[:num_iterations]:
        gradient = (scene.operator.normal(x) - backprojection) / scene.operator.norm
        x = scene.network.prior((x - step_size * gradient)[None])[0]
    return x


def test_patches_overlap_as_told():
    offsets = [patch.offset for patch in overlapping_windows((9, 12), (6, 8), 3).patches]
    assert offsets == [(0, 0), (0, 4), (3, 0), (3, 4)]
    quarter = overlapping_windows((20, 9), 8)
    assert quarter.patches[0].shape == (8, 8)
    assert [patch.offset[0] for patch in quarter.patches][::2] == [0, 6, 12]
    half = overlapping_windows((20, 9), 8, "half")
    assert [patch.offset for patch in half.patches][::2] == [(0, 0), (4, 0), (8, 0), (12, 0)]
    strided = overlapping_windows((20, 9), 8, stride=(5, 8))
    assert [patch.offset for patch in strided.patches][::2] == [(0, 0), (5, 0), (10, 0), (12, 0)]
    thin = overlapping_windows((20, 3), 8, stride=7)  # one number is cut as the patch is
    assert [patch.offset for patch in thin.patches] == [(0, 0), (7, 0), (12, 0)]


@pytest.mark.parametrize("blend", ["gaussian", "crop"])
def test_kinds_of_windows_blend_both_stages(scene, blend):
    hann, other = scene.reconstruct(), scene.reconstruct(blend=blend)
    assert (hann.stage1 - other.stage1).abs().max() > 1e-6
    one = scene.reconstruct(blend=blend, patch_shape=SHAPE, overlap=None, stages=1)
    torch.testing.assert_close(one.final, unpatched(scene), rtol=1e-12, atol=1e-12)


def test_one_patch_as_large_as_the_volume_is_the_unpatched_iteration(scene):
    result = scene.reconstruct(patch_shape=SHAPE, stages=1)
    assert result.num_patches == 1
    torch.testing.assert_close(result.final, unpatched(scene), rtol=1e-12, atol=1e-12)


def test_patches_change_only_what_the_prior_cannot_see(scene):
    scene.network.step_sizes = scene.network.step_sizes[:1]
    result = scene.reconstruct(patch_shape=(6, 10), overlap=4, stages=1)
    expected = unpatched(scene, 1)
    # rows 0 and 8 lie only in patches whose border is the volume's; row 2 is no patch's border
    for row in (0, 8):
        torch.testing.assert_close(result.final[row], expected[row], rtol=1e-12, atol=1e-12)
    assert (result.final - expected)[3:6].abs().max() > 1e-6


def test_the_prior_sees_batches_of_patches_but_gives_the_same(scene):
    one, three = scene.reconstruct(batch=1), scene.reconstruct(batch=3)
    torch.testing.assert_close(one.final, three.final, rtol=1e-12, atol=1e-12)


def test_a_refresh_of_one_leaves_gradient_steps_nothing_of_the_factors(scene):
    factors = wrong_factors(scene.operator.factors)
    with pytest.raises(InputError, match="refresh must be above 1 with normal 'factors'"):
        scene.reconstruct(factors, stages=1, normal="factors", refresh=1)


@pytest.mark.parametrize(("refresh", "num_exact"), [(2, 3), (3, 2), (5, 1)])
def test_with_exact_factors_refreshing_changes_nothing_but_the_cost(scene, refresh, num_exact):
    exact = scene.reconstruct(stages=1)
    scene.operator.counts.update(forward=0, adjoint=0)
    refreshed = scene.reconstruct(stages=1, normal="factors", refresh=refresh)
    assert scene.operator.counts == {"forward": num_exact, "adjoint": num_exact}
    torch.testing.assert_close(exact.final, refreshed.final, rtol=1e-10, atol=1e-10)


def test_wrong_factors_are_corrected_by_refreshing(scene):
    exact = scene.reconstruct(stages=1).final
    factors = wrong_factors(scene.operator.factors)
    errors = [
        (scene.reconstruct(factors, stages=1, normal="factors", refresh=m).final - exact).norm()
        for m in (2, 5)
    ]
    assert 0 < errors[0] < errors[1]


def test_default_refresh_halves_the_exact_gradients(scene):
    scene.reconstruct(stages=1, normal="factors")
    assert scene.operator.counts == {"forward": 3, "adjoint": 3}  # iterations 1, 3 and 5 of 5


def test_stage_two_with_the_truth_as_context_is_the_training_computation(scene):
    windows = overlapping_windows(SHAPE, 6, 3)
    batch = windows.patches
    factors, norm = scene.operator.factors, scene.operator.norm
    x0, truth = extract(scene.x0, batch), extract(scene.truth, batch)
    zero = torch.zeros_like(x0)  # A*(y − A x*) without noise
    restricted = [scene.operator.restricted(patch) for patch in batch]
    items = zip(restricted, x0, truth, zero, strict=True)
    gradient = torch.stack([initial_gradient(*item) for item in items]) / norm
    trained = scene.network(x0, gradient, restrict_batch(factors.scaled(1 / norm), batch))
    expected = blend_patches(lambda _: trained, windows, scene.x0, len(batch))

    result = stage_two(scene, scene.truth)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


def stage_two(scene, context, **options):
    from partunroll.reconstruction.stage_two import refine_patches
    from partunroll.reconstruction.volume_problem import VolumeProblem

    problem = VolumeProblem(
        scene.operator, scene.y, scene.x0, scene.operator.norm, scene.operator.factors
    )
    residual = scene.operator.adjoint(scene.y - scene.operator.forward(context))
    windows = overlapping_windows(SHAPE, 6, 3)
    with torch.no_grad():
        return refine_patches(scene.network, problem, context, residual, windows, **options)


def test_stage_two_with_one_whole_patch_is_stage_one_whatever_its_context(scene):
    stage1 = scene.reconstruct(patch_shape=SHAPE, stages=1).final
    stage2 = scene.reconstruct(patch_shape=SHAPE).final
    torch.testing.assert_close(stage1, stage2, rtol=1e-10, atol=1e-10)


def test_exact_factors_and_the_restricted_operator_agree_in_stage_two(scene):
    by_factors = scene.reconstruct().final
    by_operator = scene.reconstruct(None, patch_normal="exact").final
    torch.testing.assert_close(by_factors, by_operator, rtol=1e-10, atol=1e-10)


def test_history_tells_the_residual_of_exact_iterations(scene):
    history = scene.reconstruct(normal="factors", refresh=2).history
    assert [i.step_size for i in history] == pytest.approx(STEP_SIZES)
    assert [i.residual_norm is None for i in history] == [False, True, False, True, False]
    residual = scene.y - scene.operator.forward(scene.x0)
    assert history[0].residual_norm == pytest.approx(float(residual.norm() / scene.y.norm()))


def test_no_gradient_is_kept(scene):
    scene.network.step_sizes = scene.network.step_sizes.requires_grad_()
    assert not scene.reconstruct().final.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("normal", ["exact", "factors"])
def test_a_gpu_gives_what_the_cpu_gives(scene, normal):
    on_cpu = scene.reconstruct(normal=normal).final
    scene.x0, scene.y = scene.x0.cuda(), scene.y.cuda()
    on_gpu = scene.reconstruct(normal=normal).final
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stages", [1, 2])
def test_post_processing_is_one_pass_of_the_prior(scene, stages):
    prior = PriorConfig(dim=2, widths=(2, 2, 2, 2))
    network = build_network(PostProcessingConfig(prior=prior)).eval()
    scene.network = network
    scene.x0, scene.y = scene.x0.float(), scene.y.float()
    result = scene.reconstruct(scene.operator.factors.to(dtype=torch.float32), stages=stages)
    windows = overlapping_windows(SHAPE, 6, 3)
    with torch.no_grad():
        expected = blend_patches(lambda p: network.prior(extract(scene.x0, p)), windows, scene.x0)
    assert len(result.history) == 1
    torch.testing.assert_close(result.final, expected)


def test_a_drunet_reconstructs(scene):
    config = UnrolledConfig(iterations=2, prior=PriorConfig(dim=2, widths=(2, 2, 2, 2)))
    scene.network = build_network(config).eval()
    scene.x0, scene.y = scene.x0.float(), scene.y.float()
    result = scene.reconstruct(scene.operator.factors.to(dtype=torch.float32))
    assert result.final.shape == SHAPE
    assert len(result.history) == 2
    assert result.residual_norm > 0
