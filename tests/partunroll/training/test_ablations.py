"""The exact forms of the normal operator agree; slices of volumes are patches like others."""

import pytest
import torch

from normalfit.fit_to_file import fit_to_file
from normalfit.grid import Patch
from normalfit.specs import spec_from_document
from partunroll.configuration.network_config import PriorConfig, UnrolledConfig
from partunroll.configuration.train_config import TrainConfig
from partunroll.errors import InputError
from partunroll.network.checkpoint import Checkpoint, load_checkpoint
from partunroll.network.prior import DRUNetPrior
from partunroll.patches.patch_normal import patch_normal_kind
from partunroll.patches.patch_normals import RestrictedNormals, ZeroPaddedNormals
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.patch_training import train

CONE = {
    "kind": "cone_beam",
    "volume_shape": [10, 12, 11],
    "voxel_mm": [1.0, 1.0, 1.0],
    "num_views": 7,
    "source_origin_mm": 40.0,
    "origin_detector_mm": 40.0,
    "detector_shape": [24, 28],
    "pixel_mm": [1.6, 1.6],
}
BLUR = {"kind": "deconvolution", "volume_shape": [8, 6, 20], "gaussian_std_voxels": 0.8}


def test_zero_padded_to_the_volume_is_restricted_to_the_patch():
    operator = spec_from_document(CONE, {}).build()
    patches = (Patch((0, 3, 2), (5, 4, 6)), Patch((5, 8, 5), (5, 4, 6)))
    x = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    restricted = RestrictedNormals(tuple(map(operator.restricted, patches)), 3.0)(x)
    full = ZeroPaddedNormals(operator, patches, 3.0)(x)
    torch.testing.assert_close(
        full, restricted, rtol=1e-4, atol=1e-5 * float(restricted.abs().max())
    )
    for part, patch, found in zip(x, patches, full, strict=True):
        exact = patch.extract(operator.normal(patch.embed(part, (10, 12, 11)))) / 3
        assert torch.equal(found, exact)


def test_exact_is_the_old_name_of_restricted(problem):
    assert problem.config(normal="exact").normal == "restricted"
    assert patch_normal_kind("exact") == "restricted"
    old = Checkpoint(UnrolledConfig(), {}, (), (8,), "exact", 0)
    assert old.normal == "restricted"
    with pytest.raises(InputError, match="factors, corrected, restricted, full"):
        patch_normal_kind("approximate")


def test_full_and_restricted_train_the_same_network(problem, tmp_path):
    runs = {}
    for normal in ("restricted", "full", "factors"):
        values = {"steps": 3, "validation": {"every": 3, "stages": 2}, "normal": normal}
        runs[normal] = problem.run(tmp_path / normal, **values)
    kept = {name: load_checkpoint(run.output / "last.pt") for name, run in runs.items()}
    assert [kept[name].normal for name in kept] == list(kept)
    for name, tensor in kept["full"].weights.items():
        torch.testing.assert_close(tensor, kept["restricted"].weights[name], rtol=1e-3, atol=1e-5)
    psnr = {name: run.best["psnr"] for name, run in runs.items()}
    assert psnr["full"] == pytest.approx(psnr["restricted"], abs=1e-3)
    assert psnr["factors"] != pytest.approx(psnr["restricted"], abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_2d_prior_takes_slices_across_any_axis(axis):
    torch.manual_seed(0)
    prior = DRUNetPrior(PriorConfig(dim=2, widths=(2, 2, 2, 2), slice_axis=axis))
    volumes = torch.rand(2, 5, 6, 7)
    found = prior(volumes)
    for index in range(volumes.shape[axis + 1]):
        one = volumes.select(axis + 1, index)
        torch.testing.assert_close(found.select(axis + 1, index), prior(one))


@pytest.mark.parametrize(
    ("patch", "dim", "axis", "overlap"),
    [
        ((1, 32, 32), 2, 0, 8),
        ((32, 1, 24), 2, 1, 6),
        ((8, 8, 1), 2, 2, 2),
        ((8, 8, 8), 3, None, 2),
        ((1, 1, 8), 3, None, 2),
    ],
)
def test_patches_of_one_slice_get_a_2d_prior(patch, dim, axis, overlap):
    config = TrainConfig(patch_shape=patch).resolved((40, 40, 40))
    prior = config.network.prior
    assert (prior.dim, prior.slice_axis, config.validation.overlap) == (dim, axis, overlap)
    assert config.resolved((40, 40, 40)) == config


def test_slice_axis_is_refused_where_there_are_no_slices():
    network = {"prior": {"slice_axis": 1}}
    with pytest.raises(InputError, match=r"network\.prior\.slice_axis"):
        TrainConfig.model_validate({"network": network}).resolved((40, 40, 40))


def test_slices_of_volumes_train_and_reconstruct(tmp_path):
    factors = tmp_path / "factors.zarr"
    fit_to_file(spec_from_document(BLUR, {}), factors, probes=2)
    values = {
        "network": {"iterations": 2, "prior": {"widths": [2, 2, 2, 2]}},
        "patch_shape": [8, 1, 16],
        "steps": 4,
        "validation": {"every": 4, "stages": 2},
        "device": "cpu",
        "made_objects": {"train": 2, "validation": 1},
    }
    config = TrainConfig.model_validate(values)
    result = train(config, [factors], None, tmp_path / "run")
    kept = load_checkpoint(tmp_path / "run" / "last.pt")
    assert kept.patch_shape == (8, 1, 16)
    assert kept.network.prior.dim == 2
    assert kept.weights["prior.drunet.m_head.weight"].ndim == 4
    assert result.best["psnr"] > 0


def test_batches_of_slices_hold_the_problem_of_the_slice(tmp_path, problem):
    batch = PatchDataset(problem.data, problem.operators, problem.config(patch_shape=[1, 9]))[0]
    assert batch.truth.shape == (2, 1, 9)
