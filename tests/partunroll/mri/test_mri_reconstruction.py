"""Complex networks, their training on several accelerations, and the methods without training."""

import math

import numpy as np
import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.factor_file import open_factors
from normalfit.fit_to_file import fit_to_file
from normalfit.grid import Grid, Patch
from normalfit.operators.inpainting import Inpainting
from normalfit.restriction import restrict
from normalfit.specs import load_spec
from partunroll.baselines.baseline_to_file import baseline_to_file
from partunroll.baselines.iterative import cg_reconstruction, total_variation, zero_filled
from partunroll.configuration.train_config import PriorConfig, load_config
from partunroll.errors import InputError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.prior import DRUNetPrior
from partunroll.patches.patch_gradient import PatchProblem, exact_gradient, initial_gradient
from partunroll.reconstruction.evaluation import evaluate
from partunroll.reconstruction.reconstruct_to_file import reconstruct_to_file
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train
from partunroll.volumes.image_metrics import Comparison


def sample_of(scan, operator):
    """y, x0 and the reference of the validation object."""
    store = DataStore.open(scan / "data.zarr")
    (sample,) = [s for s in store.split("validation") if s.operator == operator]
    arrays = ("measurements", "initial_estimate", "reference")
    return tuple(torch.from_numpy(store.read(sample.id, array)) for array in arrays)


@pytest.mark.parametrize(
    ("dim", "shape"), [(2, (3, 20, 17)), (2, (2, 5, 20, 17)), (3, (2, 9, 8, 7))]
)
def test_a_prior_of_two_channels_takes_complex_patches(dim, shape):
    torch.manual_seed(0)
    prior = DRUNetPrior(PriorConfig(dim=dim, channels=2))
    x = torch.randn(shape, dtype=torch.complex64)
    result = prior(x)
    assert result.shape == x.shape
    assert result.dtype == x.dtype
    assert not torch.allclose(result, x)
    turned = prior(torch.complex(x.imag, x.real))
    assert not torch.allclose(torch.complex(turned.imag, turned.real), result)
    with pytest.raises(InputError, match="complex for a prior of 2 channels"):
        prior(x.real)
    with pytest.raises(InputError, match="real for a prior of 1 channels"):
        DRUNetPrior(PriorConfig(dim=dim))(x)


def test_factors_of_all_coils_give_the_exact_gradient(scan):
    """With B = N, (3') is (3)."""
    operator = load_spec(scan / "r5.yaml").build()
    factors = open_factors(scan / "r5.zarr").load()
    y, x0, truth = sample_of(scan, "r5")
    patch = Patch((2, 3, 1), (7, 8, 9))
    residual = patch.extract(operator.adjoint(y - operator.forward(truth)))
    x0_p, truth_p = patch.extract(x0), patch.extract(truth)
    x = torch.randn(patch.shape, dtype=torch.complex64)
    restricted = operator.restricted(patch)
    g0 = initial_gradient(restricted, x0_p, truth_p, residual)
    found = PatchProblem(x0_p, g0, restrict(factors, patch)).gradient(x)
    torch.testing.assert_close(
        found, exact_gradient(restricted, x, truth_p, residual), rtol=1e-4, atol=1e-5
    )


CONFIG = {
    "network.iterations": 2,
    "network.prior.widths": [2, 4, 8, 16],
    "patch_shape": 8,
    "steps": 4,
    "validation.every": 4,
    "validation.stages": 2,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(scan, tmp_path_factory):
    """A short training on two accelerations at once."""
    output = tmp_path_factory.mktemp("run") / "run"
    factors = [scan / "r3.zarr", scan / "r5.zarr"]
    return output, train(load_config(None, CONFIG), factors, scan / "data.zarr", output)


def test_two_accelerations_are_trained_together(scan, run):
    output, result = run
    checkpoint = load_checkpoint(output / "best.pt")
    assert {operator.name for operator in checkpoint.operators} == {"r3", "r5"}
    assert checkpoint.network.prior.channels == 2
    assert math.isfinite(result.best["psnr"])
    assert {"psnr_r3", "psnr_r5"} <= result.best.keys()


@pytest.mark.parametrize("stages", [1, 2])
def test_both_stages_reconstruct_a_complex_volume(scan, run, tmp_path, stages):
    store = DataStore.open(scan / "data.zarr")
    sample = next(s for s in store.split("validation") if s.operator == "r5")
    folder = scan / "data.zarr" / "samples" / sample.id
    file = reconstruct_to_file(
        load_spec(scan / "r5.yaml"),
        run[0] / "best.pt",
        scan / "r5.zarr",
        folder / "measurements",
        tmp_path / "x.zarr",
        stages=stages,
        device="cpu",
    )
    assert file.read("reconstruction").dtype == np.complex64
    found = evaluate(tmp_path / "x.zarr", folder / "reference", figure=tmp_path / "x.png")
    assert math.isfinite(found.scores["reconstruction"].psnr)
    assert "magnitude" in found.comparison.range_from


def test_whole_slices_with_the_exact_operator_are_the_unpartitioned_network(scan, tmp_path):
    changed = {"patch_shape": [1, 16, 14], "normal": "exact", "network.prior.dim": 2, "steps": 2}
    config = load_config(None, CONFIG | changed | {"validation.every": 2, "validation.overlap": 0})
    factors = [scan / "r3.zarr", scan / "r5.zarr"]
    result = train(config, factors, scan / "data.zarr", tmp_path / "run")
    assert math.isfinite(result.best["psnr"])


def test_real_and_complex_volumes_are_not_mixed_up(scan, tmp_path):
    config = load_config(None, CONFIG | {"network.prior.channels": 1})
    with pytest.raises(InputError, match="channels must be 2 for complex"):
        train(config, [scan / "r3.zarr", scan / "r5.zarr"], scan / "data.zarr", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_magnitudes_are_compared():
    x = torch.polar(torch.rand(16, 16) + 0.5, torch.rand(16, 16))
    turned = x * torch.polar(torch.ones(()), torch.tensor(1.0))
    comparison = Comparison.with_reference(x)
    assert comparison.psnr(turned, x) > 100
    assert comparison.ssim(turned, x) == pytest.approx(1, abs=1e-5)


def test_cg_solves_the_ridged_equations(scan):
    operator = load_spec(scan / "r3.yaml").build().restricted(Patch((3, 4, 4), (3, 4, 5)))
    y = torch.randn(operator.range.shape, dtype=torch.complex64)
    N = dense_matrix(operator.normal, operator.domain.shape, torch.complex128)
    b = operator.adjoint(y).to(torch.complex128).flatten()
    solved = torch.linalg.solve(N + 0.1 * torch.eye(len(N)), b)
    found = cg_reconstruction(operator, y, 1.0, ridge=0.1, iterations=60).x
    torch.testing.assert_close(found.flatten().to(solved), solved, rtol=1e-3, atol=1e-4)


def test_the_preconditioner_changes_the_way_and_not_the_end(scan, tmp_path):
    spec = load_spec(scan / "r3.yaml")
    symmetric = fit_to_file(spec, tmp_path / "s.zarr", model="symmetric", probes=8)
    operator = spec.build()
    y, _, _ = sample_of(scan, "r3")
    settings = {"ridge": 0.05, "iterations": 200}
    plain = cg_reconstruction(operator, y, 1.0, **settings)
    helped = cg_reconstruction(operator, y, 1.0, factors=symmetric.load(), **settings)
    torch.testing.assert_close(helped.x, plain.x, rtol=1e-3, atol=1e-4)
    assert helped.residual_norms != plain.residual_norms


@pytest.mark.parametrize("is_complex", [False, True])
def test_tv_of_a_step_is_the_step_shrunk(is_complex):
    """½|x − y|² + λ|∇x| of an edge: each side moves by λ over its width (exact in 1-D)."""
    n, weight = 16, 0.05
    y = torch.zeros(8, n)
    y[:, n // 2 :] = 1
    operator = Inpainting(Grid((8, n)), torch.ones(8, n))
    given = torch.complex(y, -y) if is_complex else y
    x = total_variation(operator, given, 1.0, weight=weight, iterations=200)
    expected = y + torch.where(y > 0, -1.0, 1.0) * weight / (n // 2)
    parts = [x.real, -x.imag] if is_complex else [x]
    for part in parts:
        torch.testing.assert_close(part, expected, atol=2e-4, rtol=0)


def test_tv_denoises_better_than_the_zero_filled_image(scan):
    operator = load_spec(scan / "r3.yaml").build()
    y, _, truth = sample_of(scan, "r3")
    comparison = Comparison.with_reference(truth)
    found = comparison.psnr(total_variation(operator, y, 1.0, weight=1e-3), truth)
    assert found > comparison.psnr(zero_filled(operator, y), truth) + 2


@pytest.mark.parametrize("name", ["zero-filled", "cg", "tv"])
def test_baselines_are_written_to_files(scan, tmp_path, name):
    store = DataStore.open(scan / "data.zarr")
    sample = next(s for s in store.samples if s.operator == "r5")
    measurements = scan / "data.zarr" / "samples" / sample.id / "measurements"
    spec = load_spec(scan / "r5.yaml")
    summary = baseline_to_file(name, spec, measurements, tmp_path / "x.npy", device="cpu")
    assert np.load(tmp_path / "x.npy").shape == (12, 16, 14)
    assert (summary.residual_norm is None) == (name == "zero-filled")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "magic"}, "one of zero-filled, cg, tv"),
        ({"name": "zero-filled", "weight": 1.0}, "left out of zero-filled"),
        ({"name": "tv", "factors": "f.zarr"}, "only be given for cg"),
        ({"name": "cg", "weight": -1.0}, "zero or more"),
    ],
)
def test_bad_options_of_baselines_are_named(scan, tmp_path, change, words):
    store = DataStore.open(scan / "data.zarr")
    sample = next(s for s in store.samples if s.operator == "r5")
    measurements = scan / "data.zarr" / "samples" / sample.id / "measurements"
    name, options = change["name"], {k: v for k, v in change.items() if k != "name"}
    with pytest.raises(InputError, match=words):
        baseline_to_file(name, load_spec(scan / "r5.yaml"), measurements, tmp_path / "x.npy",
                         device="cpu", **options)  # fmt: skip
    assert not (tmp_path / "x.npy").exists()
