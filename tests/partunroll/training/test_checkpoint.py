"""A checkpoint comes back as it was saved; anything else is refused as a checkpoint."""

import os
from dataclasses import fields, replace

import pytest
import torch

from partunroll.configuration.train_config import PostProcessingConfig, PriorConfig, UnrolledConfig
from partunroll.errors import CheckpointError, MismatchError
from partunroll.network.checkpoint import (
    Checkpoint,
    TrainedOperator,
    _checksum,
    load_checkpoint,
    save_checkpoint,
)
from partunroll.network.networks import build_network

PRIOR = PriorConfig(dim=2, widths=(2, 2, 2, 2))
CONFIGS = [UnrolledConfig(iterations=2, prior=PRIOR), PostProcessingConfig(prior=PRIOR)]


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def checkpoint(request):
    torch.manual_seed(3)
    return Checkpoint(
        network=request.param,
        weights=build_network(request.param).state_dict(),
        operators=(TrainedOperator("views30", "ab" * 32, 12.5, "fdk", "hann"),),
        patch_shape=(16, 16),
        normal="exact",
        step=7,
        metrics={"psnr": 30.0},
        versions={"torch": "2"},
        training={"optimizer": {"state": {0: {"step": torch.tensor(7.0)}}}},
    )


@pytest.fixture
def path(tmp_path, checkpoint):
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    return tmp_path / "last.pt"


def rewrite(path, document):
    """Write a document whose checksum is right."""
    document.pop("checksum")
    torch.save({**document, "checksum": _checksum(document)}, path)


def test_checkpoint_comes_back_bit_for_bit(path, checkpoint):
    loaded = load_checkpoint(path)
    for field in fields(Checkpoint):
        if field.name != "weights":
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name)
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(loaded.weights[k], checkpoint.weights[k]) for k in loaded.weights)


def test_built_network_computes_what_the_saved_one_computed(path, checkpoint):
    torch.manual_seed(3)
    original = build_network(checkpoint.network)
    x0, g0 = torch.rand(2, 1, 8, 8)
    rebuilt = load_checkpoint(path).build_network()
    assert not rebuilt.training
    assert torch.equal(rebuilt(x0, g0, lambda x: x), original(x0, g0, lambda x: x))


def test_building_a_network_leaves_the_random_numbers_alone(checkpoint):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    checkpoint.build_network()
    assert torch.equal(torch.rand(3), expected)


def test_nothing_but_data_is_in_the_file(path):
    assert isinstance(torch.load(path, weights_only=True), dict)


def test_saving_leaves_the_old_checkpoint_when_it_fails(path, checkpoint, monkeypatch):
    before = path.read_bytes()

    def fail(document, target):
        target.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="space"):
        save_checkpoint(path, checkpoint)
    assert [path.read_bytes()] == [before]
    assert list(path.parent.iterdir()) == [path]


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.pt"):
        load_checkpoint(tmp_path / "gone.pt")


def test_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_truncated_file_is_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CheckpointError, match="must"):
        load_checkpoint(path)


def test_flipped_bit_in_the_weights_is_refused(path, checkpoint):
    """Without a checksum torch loads the wrong number and says nothing."""
    weights = bytes(checkpoint.weights["prior.drunet.m_tail.weight"].untyped_storage())
    content = bytearray(path.read_bytes())
    content[content.index(weights)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(path)


def test_text_file_is_refused(path):
    path.write_text("steps: 3\n")
    with pytest.raises(CheckpointError, match="must"):
        load_checkpoint(path)


def test_another_torch_file_is_refused(path):
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="train"):
        load_checkpoint(path)


class Foreign:
    """Not plain data: loading it runs code, which makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_not_run(path, tmp_path):
    torch.save({"format": "partunroll-checkpoint", "network": Foreign(tmp_path / "made")}, path)
    with pytest.raises(CheckpointError, match="must"):
        load_checkpoint(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("key", ["network", "weights", "operators", "patch_shape", "step"])
def test_missing_entry_is_named(path, key):
    document = torch.load(path, weights_only=True)
    del document[key]
    rewrite(path, document)
    with pytest.raises(CheckpointError, match=key):
        load_checkpoint(path)


def test_unknown_version_is_refused(path):
    document = torch.load(path, weights_only=True)
    torch.save({**document, "version": 99}, path)
    with pytest.raises(CheckpointError, match="version"):
        load_checkpoint(path)


def test_invalid_network_is_refused(path):
    document = torch.load(path, weights_only=True)
    document["network"]["prior"]["blocks"] = 0
    rewrite(path, document)
    with pytest.raises(CheckpointError, match=r"prior\.blocks"):
        load_checkpoint(path)


def test_weights_of_another_network_are_refused(checkpoint):
    wider = PRIOR.model_copy(update={"widths": (4, 4, 4, 4)})
    other = replace(checkpoint, network=checkpoint.network.model_copy(update={"prior": wider}))
    with pytest.raises(CheckpointError, match="weights must fit"):
        other.build_network()


def test_operator_is_found_by_fingerprint(checkpoint):
    assert checkpoint.operator("ab" * 32).norm == 12.5


def test_operator_that_was_not_trained_with_is_refused_with_both_fingerprints(checkpoint):
    with pytest.raises(MismatchError, match=r"views30 \(abababababab\).*cdcdcdcdcdcd"):
        checkpoint.operator("cd" * 32)
