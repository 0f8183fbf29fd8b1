"""A factor file holds its operator, arrays included, and gives it back as it was."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from normalfit.errors import FactorFileError, MismatchError
from normalfit.factor_file import open_factors, save_factors
from normalfit.factor_file.manifest import write_manifest
from normalfit.specs import load_spec


@pytest.fixture
def masked(tmp_path):
    """Return a spec that names a file of more than one chunk."""
    mask = np.random.default_rng(0).random((70, 65)) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    document = {"kind": "inpainting", "volume_shape": [70, 65], "mask_file": "mask.npy"}
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    return load_spec(tmp_path / "op.yaml")


@pytest.fixture
def path(tmp_path, masked, make_factors, metadata):
    known = dataclasses.replace(
        metadata, spec=masked, fingerprint=masked.fingerprint, voxel_mm=None
    )
    save_factors(tmp_path / "f.zarr", make_factors(shape=(70, 65)), known)
    return tmp_path / "f.zarr"


def test_the_operator_comes_back(path, masked):
    (path.parent / "mask.npy").unlink()
    (path.parent / "op.yaml").unlink()
    spec = open_factors(path).spec
    assert spec is not None
    assert spec.fingerprint == masked.fingerprint
    assert spec.document() == masked.document()
    assert set(spec.arrays) == {"mask_file"}
    found, expected = spec.arrays["mask_file"], masked.arrays["mask_file"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    x = torch.rand(70, 65)
    assert torch.equal(spec.build().normal(x), masked.build().normal(x))


def test_an_operator_without_files_has_no_operator_group(tmp_path, make_factors, metadata):
    document = {"kind": "deconvolution", "volume_shape": [6, 5, 4], "gaussian_std_voxels": 1.0}
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    spec = load_spec(tmp_path / "op.yaml")
    known = dataclasses.replace(metadata, spec=spec, fingerprint=spec.fingerprint)
    file = save_factors(tmp_path / "f.zarr", make_factors(), known)
    assert not (tmp_path / "f.zarr/operator").exists()
    assert file.spec is not None
    assert file.spec.fingerprint == spec.fingerprint


def test_a_missing_chunk_of_the_operator(path):
    (path / "operator/mask_file/c/1/0").unlink()
    file = open_factors(path)
    assert file.load().terms == 1
    with pytest.raises(FactorFileError, match="chunk 1/0 of operator/mask_file must exist"):
        _ = file.spec


def test_a_missing_array_of_the_operator(path):
    shutil.rmtree(path / "operator")
    with pytest.raises(FactorFileError, match="sound factor file"):
        _ = open_factors(path).spec


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "0" * 64},
        {"operator": {"kind": "inpainting", "volume_shape": [70, 65], "kept_fraction": 0.5}},
        {"operator": {"kind": "unheard of"}},
        {"operator": {}},
    ],
)
def test_an_operator_that_is_not_the_one_of_the_fingerprint(path, change):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] |= change
    (path / "zarr.json").write_text(json.dumps(document))
    write_manifest(path)
    with pytest.raises(FactorFileError, match="sound factor file"):
        _ = open_factors(path).spec


def test_another_operator_is_told_apart_with_both_fingerprints(tmp_path, path, masked):
    file = open_factors(path)
    file.check_operator(masked)
    document = {"kind": "inpainting", "volume_shape": [70, 65], "kept_fraction": 0.5}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
    other = load_spec(tmp_path / "other.yaml")
    with pytest.raises(MismatchError, match=f"(?s){other.fingerprint}.*{masked.fingerprint}"):
        file.check_operator(other)
