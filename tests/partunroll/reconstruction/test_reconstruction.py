"""Both stages against the formulas they stand for, on an operator whose factors are exact."""

from typing import Any

import pytest
import torch
from torch import nn

from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator
from normalfit.restriction import restrict_batch
from partunroll.blended_patches import blend_patches, extract, overlapping_windows
from partunroll.config import PostProcessingConfig, PriorConfig, UnrolledConfig
from partunroll.errors import InputError, MismatchError
from partunroll.network import build_network
from partunroll.patch_gradient import PatchProblem, initial_gradient
from partunroll.reconstruction import reconstruct

SHAPE = (9, 10)
STEP_SIZES = (0.7, 0.5, 0.9, 0.6, 0.8)


class SmallNetwork(nn.Module):
    """A network whose prior looks one voxel around: a convolution and a nonlinearity."""

    def __init__(self):
        super().__init__()
        self.weight = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(5)) * 0.3
        self.step_sizes = torch.tensor(STEP_SIZES)

    def prior(self, x):
        padded = nn.functional.pad(x[:, None], (1, 1, 1, 1), mode="replicate")
        return torch.tanh(nn.functional.conv2d(padded, self.weight.to(x)))[:, 0] + x

    def forward(self, initial_estimate, initial_gradient, normal):
        problem = PatchProblem(initial_estimate, initial_gradient, normal)
        x = initial_estimate
        for step_size in self.step_sizes:
            x = self.prior(x - step_size * problem.gradient(x))
        return x


class CountedOperator(FunctionOperator):
    """A periodic convolution that counts how often it is applied."""

    def __init__(self, shape=SHAPE):
        generator = torch.Generator().manual_seed(1)
        kernel = torch.zeros(shape, dtype=torch.float64)
        kernel[:3, :4] = torch.randn(3, 4, dtype=torch.float64, generator=generator)
        self.spectrum = torch.fft.fftn(kernel)
        self.counts = {"forward": 0, "adjoint": 0}
        super().__init__(Grid(shape), Grid(shape), self._convolve, self._correlate, batched=True)

    def _convolve(self, x):
        self.counts["forward"] += 1
        return self._filter(x, self.spectrum)

    def _correlate(self, y):
        self.counts["adjoint"] += 1
        return self._filter(y, self.spectrum.conj())

    def _filter(self, x, spectrum):
        axes = (-2, -1)
        product = torch.fft.fftn(x, dim=axes) * spectrum.to(x.device)
        return torch.fft.ifftn(product, dim=axes).real.to(x.dtype)

    @property
    def norm(self):
        return float(self.spectrum.abs().max() ** 2)

    @property
    def factors(self):
        """``A*A`` itself: it is a periodic convolution."""
        kernel = torch.fft.ifftn(self.spectrum.abs() ** 2).real
        centre = [n // 2 for n in kernel.shape]
        values = kernel.roll(centre, (0, 1))[None]
        return Factors(LagKernel(values, tuple(kernel.shape), ("periodic",) * 2))


class Scene:
    """A noiseless problem in float64."""

    def __init__(self):
        generator = torch.Generator().manual_seed(2)
        self.operator = CountedOperator()
        self.truth = torch.rand(SHAPE, dtype=torch.float64, generator=generator)
        self.y = self.operator.forward(self.truth)
        noise = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
        self.x0 = self.truth + 0.3 * noise
        self.network: Any = SmallNetwork()
        self.operator.counts.update(forward=0, adjoint=0)

    def reconstruct(self, factors="exact", **options):
        factors = self.operator.factors if factors == "exact" else factors
        options = {"patch_shape": 6, "overlap": 3} | options
        return reconstruct(
            self.network, self.operator, self.y, factors, self.operator.norm, self.x0, **options
        )


@pytest.fixture
def scene():
    return Scene()


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


def test_refresh_of_one_is_exact_whatever_the_factors(scene):
    exact = scene.reconstruct(stages=1)
    factors = wrong_factors(scene.operator.factors)
    refreshed = scene.reconstruct(factors, stages=1, normal="factors", refresh=1)
    assert torch.equal(exact.final, refreshed.final)


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
    from partunroll.stage_two import refine_patches
    from partunroll.volume_problem import VolumeProblem

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"patch_shape": (6, 11)},
            r"patch_shape must fit into the volume \(9, 10\), got \(6, 11\)",
        ),
        ({"patch_shape": (6, 6, 6)}, r"got \(6, 6, 6\)"),
        ({"overlap": 6}, r"overlap must be 0 … 5 for \(6, 6\), got 6"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"refresh": 2}, "refresh must be at least 1, and 1 with normal 'exact', got 2"),
        ({"normal": "factors", "refresh": 0}, "got 0 with 'factors'"),
    ],
)
def test_wrong_options_are_refused(scene, options, message):
    with pytest.raises(InputError, match=message):
        scene.reconstruct(**options)


@pytest.mark.parametrize("options", [{}, {"normal": "factors", "stages": 1}])
def test_missing_factors_are_refused_before_anything_is_computed(scene, options):
    with pytest.raises(InputError, match="factors must be given to be used, got none"):
        scene.reconstruct(None, **options)
    assert scene.operator.counts == {"forward": 0, "adjoint": 0}


def test_wrong_shapes_are_refused_naming_both(scene):
    scene.y = scene.y[:, :7]
    with pytest.raises(InputError, match=r"measurements .* \(9, 10\), got \(9, 7\)"):
        scene.reconstruct()


def test_factors_of_another_grid_are_refused(scene):
    with pytest.raises(MismatchError, match=r"\(9, 10\), got \(9, 8\)"):
        scene.reconstruct(CountedOperator((9, 8)).factors)


def test_a_network_that_diverges_is_reported(scene):
    scene.network.weight = scene.network.weight * torch.nan
    with pytest.raises(InputError, match="reconstruction must be finite"):
        scene.reconstruct()
