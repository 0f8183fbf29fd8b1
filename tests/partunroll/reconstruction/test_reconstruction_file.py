"""Reconstruction files: read back, all or nothing, damage reported."""

import json

import numpy as np
import pytest

from normalfit.errors import InputError
from partunroll.errors import ReconstructionFileError
from partunroll.reconstruction.reconstruction_file import (
    is_reconstruction,
    open_reconstruction,
    save_reconstruction,
)
from partunroll.volumes.volume_file import read_volume


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    names = ("reconstruction", "stage1", "initial_estimate")
    return {name: rng.random((5, 40, 7), dtype=np.float32) for name in names}


@pytest.fixture
def saved(volumes, facts, tmp_path):
    save_reconstruction(tmp_path / "recon.zarr", volumes, facts)
    return tmp_path / "recon.zarr"


def test_volumes_and_facts_read_back(saved, volumes, facts):
    file = open_reconstruction(saved)
    for name, volume in volumes.items():
        np.testing.assert_array_equal(file.read(name), volume)
    assert file.facts == facts
    assert set(file.header.versions) >= {"python", "torch", "partunroll"}
    assert is_reconstruction(saved)


def test_any_reader_of_volumes_takes_the_last_stage(saved, volumes):
    volume, voxel_mm = read_volume(saved)
    np.testing.assert_array_equal(volume, volumes["reconstruction"])
    assert read_volume(saved / "stage1")[1] == (1.0, 2.0, 2.0)
    assert voxel_mm is None or voxel_mm == (1.0, 2.0, 2.0)


def test_the_summary_holds_what_matters(saved):
    text = str(open_reconstruction(saved))
    assert "5 × 40 × 7" in text
    assert "0.5000 → 0.2500" in text
    assert text.endswith("note: a note")
    assert json.loads(json.dumps(open_reconstruction(saved).as_json()))["norm"] == 2.5


def test_an_existing_output_stays(saved, volumes, facts):
    volumes = {name: 0 * volume for name, volume in volumes.items()}
    with pytest.raises(InputError, match="output must not exist yet"):
        save_reconstruction(saved, volumes, facts)
    assert open_reconstruction(saved).read("reconstruction").any()


def test_a_failure_leaves_nothing(volumes, facts, tmp_path):
    del volumes["stage1"]
    with pytest.raises(KeyError):
        save_reconstruction(tmp_path / "recon.zarr", volumes, facts)
    assert list(tmp_path.iterdir()) == []


def test_no_reconstruction_is_refused(tmp_path):
    with pytest.raises(ReconstructionFileError, match="nothing must be a reconstruction"):
        open_reconstruction(tmp_path / "nothing")
    assert not is_reconstruction(tmp_path)


def test_an_unknown_version_is_refused(saved):
    header = json.loads((saved / "zarr.json").read_text())
    header["attributes"]["version"] = "7"
    (saved / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ReconstructionFileError, match=r"version 0\.2, got .*version"):
        open_reconstruction(saved)


def test_a_cut_header_is_refused(saved):
    header = (saved / "zarr.json").read_text()
    (saved / "zarr.json").write_text(header[: len(header) // 2])
    with pytest.raises(ReconstructionFileError, match="must be a sound reconstruction"):
        open_reconstruction(saved)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_damaged_chunk_is_not_read_as_anything(saved, damage):
    chunk = next(path for path in (saved / "stage1").rglob("c/*/*/*") if path.is_file())
    if damage == "missing":
        chunk.unlink()
    else:
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(bytes(content))
    with pytest.raises(ReconstructionFileError, match="must be a sound reconstruction"):
        open_reconstruction(saved).read("stage1")


def test_a_file_of_version_0_1_is_read(tmp_path, volumes, facts):
    saved = tmp_path / "recon.zarr"
    save_reconstruction(saved, volumes, facts)
    header = json.loads((saved / "zarr.json").read_text())
    header["attributes"]["version"] = "0.1"
    for name in ("patch_iterations", "final_residual_norm"):
        del header["attributes"]["facts"][name]
    (saved / "zarr.json").write_text(json.dumps(header))
    file = open_reconstruction(saved)
    assert file.facts.patch_iterations == []
    assert file.facts.final_residual_norm is None
    assert "residual" in str(file)
