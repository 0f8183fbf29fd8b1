"""--allow-mismatch: what train and reconstruct refuse without it, and never take."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from normalfit.factor_file import FactorMetadata, open_factors, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import load_spec
from normalfit.spectral_norm import SpectralNorm
from partunroll.network.checkpoint import load_checkpoint, save_checkpoint
from partunroll.reconstruction.reconstruction_file import open_reconstruction

CHANGES = {
    "fingerprint": {"fingerprint": "ab" * 32},
    "voxel size": {"voxel_mm": (0.5, 0.6)},
    "norm": {"norm": 0.5},
}


@pytest.fixture
def changed(project, tmp_path):
    """Write the project's factors with other facts."""

    def write(**changes):
        file = open_factors(project / "factors.zarr")
        said = {"fingerprint": file.fingerprint, "voxel_mm": file.header.voxel_mm}
        facts: dict[str, Any] = {**said, "norm": file.norm.value, **changes}
        shape = facts.pop("shape", None)
        factors = file.load()
        if shape is not None:
            factors = Factors(LagKernel(torch.ones(1, 3, 3) / 9, shape, ("linear",) * 2))
        norm = SpectralNorm(facts.pop("norm"), converged=True, iterations=1)
        metadata = FactorMetadata(None, norm=norm, adjointness=0.0, **facts)
        save_factors(tmp_path / "changed.zarr", factors, metadata)
        return tmp_path / "changed.zarr"

    return write


@pytest.fixture
def train_arguments(project, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("network: {iterations: 1, prior: {widths: [2, 2, 2, 2]}}\npatch_shape: 16\n")
    data = ["--data", project / "data.zarr", "--config", config, "--steps", 1]
    return lambda factors, run: ["train", "--factors", factors, *data, "-o", run]


def assert_warned(out, err, name):
    assert err.startswith(f"warning: {name} of the factors should be the one of")
    assert all(f"note: {line.removeprefix('warning: ')}" in out for line in err.splitlines())


@pytest.mark.parametrize("name", CHANGES)
def test_reconstruct(changed, reconstruct_arguments, refused, cli, tmp_path, name):
    factors, output = changed(**CHANGES[name]), tmp_path / "recon.zarr"
    arguments = reconstruct_arguments(output, factors=factors, patch=16)
    message = refused(*arguments)
    for part in (f"{name} of the factors must", "changed.zarr", "--allow-mismatch"):
        assert part in message
    assert ("best.pt" if name == "norm" else "op.yaml") in message
    code, out, err = cli(*arguments, "--allow-mismatch")
    assert code == 0
    assert_warned(out, err, name)
    assert f"{name} of the factors should" in " ".join(open_reconstruction(output).facts.notes)


@pytest.mark.parametrize("name", ["fingerprint", "voxel size"])
def test_train(changed, train_arguments, refused, cli, tmp_path, name):
    factors, run = changed(**CHANGES[name]), tmp_path / "run"
    message = refused(*train_arguments(factors, run))
    for part in (f"{name} of the factors must", "data.zarr", "changed.zarr", "--allow-mismatch"):
        assert part in message
    assert not run.exists()
    arguments = train_arguments(factors, run)
    code, out, err = cli(*arguments, "--allow-mismatch", "--json", tmp_path / "run.json")
    assert code == 0
    assert_warned(out, err, name)
    assert err.splitlines()[0].removeprefix("warning: ") in (run / "config.yaml").read_text()
    assert "allowed" in json.loads((tmp_path / "run.json").read_text())["notes"][0]


def test_resume(project, changed, train_arguments, refused, cli, tmp_path):
    run, other = tmp_path / "run", changed(norm=0.5)
    arguments = train_arguments(project / "factors.zarr", run)
    assert cli(*arguments)[0] == 0
    resumed = ["train", "--factors", other, "--data", project / "data.zarr", "-o", run, "--resume"]
    message = refused(*resumed)
    for part in ("norm of the factors must", "last.pt", "got 0.5 in", "--allow-mismatch"):
        assert part in message
    code, out, err = cli(*resumed, "--allow-mismatch")
    assert code == 0
    assert_warned(out, err, "norm")


def test_another_grid_is_never_taken(
    changed, reconstruct_arguments, train_arguments, refused, tmp_path
):
    factors, output = changed(shape=(24, 22), fingerprint="ab" * 32), tmp_path / "out"
    for arguments in (
        reconstruct_arguments(output, factors=factors),
        train_arguments(factors, output),
    ):
        message = refused(*arguments, "--allow-mismatch")
        assert "grid of the factors must be the one of" in message
        assert "24 × 20" in message
        assert "24 × 22" in message
        assert not output.exists()


@pytest.fixture
def other_operator(project, changed, reconstruct_arguments, tmp_path):
    """Arguments for an operator that the network was not trained with, and its factors."""
    own = changed(fingerprint=load_spec(project / "other.yaml").fingerprint, norm=1.25)
    replaced = {"operator": project / "other.yaml", "factors": own}
    initial = {"initial": project / "a.npz", "measurements": project / "b.npz", "patch": 16}
    return lambda **more: reconstruct_arguments(
        tmp_path / "recon.zarr", **replaced, **initial, **more
    )


def test_an_operator_of_another_training(project, other_operator, refused, cli, tmp_path):
    assert "--allow-mismatch" in refused(*other_operator())
    assert cli(*other_operator(), "--allow-mismatch")[0] == 0
    facts = open_reconstruction(tmp_path / "recon.zarr").facts
    assert facts.norm == 1.25  # its own factors', not the 1 of the training
    assert facts.fingerprint == load_spec(project / "other.yaml").fingerprint
    assert "allowed in the place of op" in facts.notes[0]


@pytest.mark.parametrize("name", ["other", "second"])
def test_an_operator_in_the_place_of_one_of_several(
    project, other_operator, refused, cli, tmp_path, name
):
    checkpoint = load_checkpoint(project / "best.pt")
    second = replace(checkpoint.operators[0], name=name, fingerprint="cd" * 32)
    operators = (*checkpoint.operators, second)
    save_checkpoint(tmp_path / "two.pt", replace(checkpoint, operators=operators))
    arguments = other_operator(checkpoint=tmp_path / "two.pt")
    if name == "other":  # that of the operator's file
        code, out, _ = cli(*arguments, "--allow-mismatch")
        assert code == 0
        assert "allowed in the place of other" in out
    else:
        message = refused(*arguments, "--allow-mismatch")
        assert "name its file after the one that it stands for" in message
