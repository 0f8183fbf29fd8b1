"""An exported model is the checkpoint again, for people to read and for programs to check."""

import hashlib
import json
import subprocess
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file

from partunroll.errors import CheckpointError, InputError, PartunrollError
from partunroll.network.checkpoint import Checkpoint, load_checkpoint
from partunroll.network.export_to_folder import export_to_folder
from partunroll.network.exported_model import digest_of, load_model, load_trained
from partunroll.network.model_card import model_card


@pytest.fixture(scope="module")
def model(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "blurs"
    export_to_folder(finished.output, path)
    return path


@pytest.fixture
def copy(model, tmp_path):
    """A model to spoil."""
    path = tmp_path / "model"
    path.mkdir()
    for file in model.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def reseal(path):
    """Make the checksums right again."""
    names = ("config.json", "model.safetensors")
    sums = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (path / "SHA256SUMS").write_text("".join(sums))


def test_model_is_the_checkpoint_but_for_the_state_of_its_training(model, finished):
    loaded, best = load_trained(model), load_checkpoint(finished.output / "best.pt")
    for field in fields(Checkpoint):
        if field.name not in ("weights", "training"):
            assert getattr(loaded, field.name) == getattr(best, field.name)
    assert loaded.weights.keys() == best.weights.keys()
    assert all(torch.equal(loaded.weights[k], best.weights[k]) for k in best.weights)
    assert all(w.dtype == best.weights[k].dtype for k, w in loaded.weights.items())
    assert loaded.training == {}


def test_network_of_the_model_computes_what_that_of_the_checkpoint_does(model, finished):
    x0, g0 = torch.rand(2, 2, 12, 9, generator=torch.Generator().manual_seed(1))
    before, after = (
        load_trained(path).build_network()(x0, g0, lambda x: x / 2)
        for path in (finished.output / "best.pt", model)
    )
    assert torch.equal(before, after)


def test_other_programs_read_and_check_the_files(model, finished):
    weights = load_file(model / "model.safetensors")
    assert weights.keys() == load_checkpoint(finished.output / "best.pt").weights.keys()
    config = json.loads((model / "config.json").read_text())
    assert [o["norm"] for o in config["operators"]] == [0.9, 0.9]
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=model, capture_output=True)  # noqa: S607
    assert checked.returncode == 0
    assert sorted(path.name for path in model.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]


def test_card_says_what_the_network_is_for_and_how_good_it_is(model, finished, problem):
    card = (model / "README.md").read_text()
    for spec in problem.specs.values():
        assert spec.fingerprint in card
    best = load_checkpoint(finished.output / "best.pt")
    parts = ("# blurs", "0.9 |", "least-squares", f"| psnr | {best.metrics['psnr']:.4g} |")
    for part in (*parts, "--checkpoint blurs", "learning_rate: 0.001", "normal: factors"):
        assert part in card
    assert str(problem.data) not in card  # paths of this machine are nobody's business


def test_last_checkpoint_alone_can_be_exported(finished, tmp_path):
    (tmp_path / "alone.pt").write_bytes((finished.output / "last.pt").read_bytes())
    (tmp_path / "config.yaml").write_text("another: program's\n")
    model = export_to_folder(tmp_path / "alone.pt", tmp_path / "model")
    assert load_model(tmp_path / "model").step == model.checkpoint.step == 60
    assert "learning_rate" not in (tmp_path / "model" / "README.md").read_text()


def test_existing_output_is_refused_and_left_alone(finished, copy):
    before = digest_of(copy)
    with pytest.raises(Exception, match="output must not exist yet"):
        export_to_folder(finished.output, copy)
    assert digest_of(copy) == before


def test_run_that_was_not_validated_yet_is_refused(stopped, tmp_path):
    (stopped / "best.pt").unlink()
    with pytest.raises(InputError, match=r"best\.pt, got .*checkpoints last\.pt"):
        export_to_folder(stopped, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_flipped_bit_and_a_missing_file_are_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-10] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="must have the SHA-256 of SHA256SUMS"):
        load_model(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}|got no file"):
        load_model(copy)


def test_missing_checksums_and_other_folders_are_refused(copy, tmp_path):
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        load_model(copy)
    with pytest.raises(CheckpointError, match="partunroll export"):
        load_trained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 1, got 99"),
        ({"format": "other"}, "partunroll export"),
        ({"network": {"kind": "unrolled", "iterations": 0}}, "iterations"),
    ],
    ids=["version", "format", "network"],
)
def test_config_of_another_kind_is_refused(copy, change, message):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    reseal(copy)
    with pytest.raises(CheckpointError, match=message):
        load_model(copy)


def test_edited_card_is_no_damage(copy):
    (copy / "README.md").write_text("Licence: CC0\n")
    assert load_model(copy).step > 0


def test_weights_that_are_no_safetensors_are_refused(copy):
    (copy / "model.safetensors").write_bytes(b"weights")
    reseal(copy)
    with pytest.raises(CheckpointError, match="readable safetensors"):
        load_model(copy)


@pytest.mark.parametrize("value", [None, [], {}, "text", -1, 2.5, [None], [[1]], {"a": None}])
@pytest.mark.parametrize(
    "key", ["network", "operators", "patch_shape", "normal", "step", "metrics", "versions"]
)
def test_config_of_wrong_values_is_refused_or_reads_as_a_whole(copy, key, value):
    """Whoever edits the configuration and mends the checksums gets an error of ours, or a model."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, key: value}))
    reseal(copy)
    try:
        loaded = load_model(copy)
        loaded.build_network()
    except PartunrollError:
        return  # any other exception would be a traceback
    assert "# it" in model_card("it", loaded)
