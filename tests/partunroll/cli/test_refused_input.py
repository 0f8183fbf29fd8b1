"""What a user can cause: one `error:` line, exit code 2, and nothing lost."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from normalfit.specs import load_spec
from partunroll.network.checkpoint import load_checkpoint, save_checkpoint

SHAPE = (24, 20)


def test_wrong_usage(refused):
    assert "Missing option '--reference'" in refused("evaluate", "--reconstruction", "x")
    assert "No such option" in refused("demo", "--fast")
    assert "No such command" in refused("evaluat")
    assert "'both' is not" in refused("simulate", "--split", "both")


def test_missing_files(reconstruct_arguments, refused, tmp_path):
    output = tmp_path / "recon.zarr"
    for option in ("checkpoint", "operator", "factors", "measurements", "initial"):
        replaced = {option: tmp_path / "nothing"}
        message = refused(*reconstruct_arguments(output, **replaced))
        assert "nothing" in message
    assert not output.exists()


def test_an_existing_output_before_anything_else(reconstruct_arguments, refused, tmp_path):
    output = tmp_path / "recon.zarr"
    output.mkdir()
    (output / "precious").write_text("data")
    arguments = reconstruct_arguments(output, checkpoint="missing.pt")
    assert "output must not exist yet" in refused(*arguments)
    assert (output / "precious").read_text() == "data"
    for command in ("simulate", "initial", "prepare"):
        arguments = ["--operator", "missing.yaml", "-o", output]
        measurements = [] if command == "simulate" else ["--measurements", "missing.npy"]
        message = refused(command, *arguments, *measurements)
        assert "output must not exist yet" in message


def test_a_missing_folder_of_the_output(reconstruct_arguments, refused, tmp_path):
    message = refused(*reconstruct_arguments(tmp_path / "missing" / "recon.zarr"))
    assert "folder of the output must exist" in message


def test_nan_in_measurements(reconstruct_arguments, refused, tmp_path):
    y = np.zeros(SHAPE, np.float32)
    y[3, 4] = np.nan
    np.save(tmp_path / "y.npy", y)
    message = refused(*reconstruct_arguments(tmp_path / "r.zarr", measurements=tmp_path / "y.npy"))
    assert "measurements must be finite" in message
    assert "(3, 4)" in message


def test_wrong_shapes_naming_both(project, reconstruct_arguments, refused, tmp_path):
    np.save(tmp_path / "y.npy", np.zeros((5, 6), np.float32))
    wrong, output = tmp_path / "y.npy", tmp_path / "recon.zarr"
    for option in ("measurements", "initial"):
        message = refused(*reconstruct_arguments(output, **{option: wrong}))
        assert "(24, 20), got (5, 6)" in message
    reference = ["--reference", project / "a.npz"]
    message = refused("evaluate", "--reconstruction", wrong, *reference)
    assert "(24, 20), got (5, 6)" in message


def test_factors_of_another_operator_naming_both_fingerprints(
    project, reconstruct_arguments, refused, tmp_path
):
    arguments = reconstruct_arguments(tmp_path / "r.zarr", factors=project / "other.zarr")
    message = refused(*arguments)
    for name in ("op", "other"):
        assert load_spec(project / f"{name}.yaml").fingerprint[:12] in message


def test_measurements_of_another_operator(project, refused, tmp_path):
    measurements = project / "data.zarr/samples/a/measurements"
    arguments = ["--operator", project / "other.yaml", "--measurements", measurements]
    message = refused("initial", *arguments, "-o", tmp_path / "x0.npy")
    for name in ("op", "other"):
        assert load_spec(project / f"{name}.yaml").fingerprint in message


def test_a_checkpoint_of_another_operator(project, reconstruct_arguments, refused, tmp_path):
    arguments = reconstruct_arguments(tmp_path / "r.zarr", operator=project / "other.yaml")
    assert "operator must be one the checkpoint was trained with" in refused(*arguments)


def test_factors_of_another_norm(project, reconstruct_arguments, refused, tmp_path):
    checkpoint = load_checkpoint(project / "best.pt")
    other = replace(checkpoint.operators[0], norm=0.5)
    save_checkpoint(tmp_path / "old.pt", replace(checkpoint, operators=(other,)))
    arguments = reconstruct_arguments(tmp_path / "r.zarr", checkpoint=tmp_path / "old.pt")
    assert "norm of the factors must be the one of the training, 0.5" in refused(*arguments)


def test_damaged_files(project, reconstruct_arguments, refused, tmp_path):
    whole = (project / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
    output = tmp_path / "recon.zarr"
    refused(*reconstruct_arguments(output, checkpoint=tmp_path / "cut.pt"))
    refused(*reconstruct_arguments(output, factors=tmp_path / "text.zarr"))
    refused(*reconstruct_arguments(output, measurements=tmp_path / "text.zarr"))
    (tmp_path / "op.yaml").write_text("kind: [")
    refused(*reconstruct_arguments(output, operator=tmp_path / "op.yaml"))
    assert not output.exists()


def test_a_gpu_where_there_is_none(reconstruct_arguments, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = refused(*reconstruct_arguments(tmp_path / "r.zarr", device="cuda"))
    assert "device must be present, got 'cuda'" in message
    message = refused(*reconstruct_arguments(tmp_path / "r.zarr", device="tpu"))
    assert "device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got 'tpu'" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh": 2}, "refresh must be at least 1, and 1 with normal 'exact', got 2"),
        ({"patch": 0}, "patch_shape must fit into the volume (24, 20), got (0, 0)"),
        ({"overlap": 16}, "overlap must be 0 … 15 for (16, 16), got 16"),
        ({"overlap": "some"}, "overlap must be a number of voxels or 'half', got 'some'"),
        ({"stride": 20}, "stride must be 1 … 16"),
        ({"blend": "box"}, "'box' is not"),
        ({"stages": 3}, "Invalid value for '--stages'"),
        ({"normal": "both"}, "'both' is not"),
        ({"intensity-per-mm": "much"}, "must be a number or 'auto', got 'much'"),
        ({"intensity-per-mm": -1}, "must be a positive number, got -1.0"),
        ({"method": "fdk"}, "method fdk must be used with a cone"),
        ({"window": "flat", "method": "fdk"}, "window must be one of"),
        ({"window": "hann"}, "window must be left out with least squares"),
    ],
)
def test_wrong_options(reconstruct_arguments, refused, tmp_path, options, message):
    assert message in refused(*reconstruct_arguments(tmp_path / "r.zarr", **options))


@pytest.mark.parametrize("options", [{"window": "hann"}, {"method": "least-squares"}], ids=str)
def test_options_that_a_given_initial_estimate_would_ignore(
    project, reconstruct_arguments, refused, tmp_path, options
):
    initial = project / "data.zarr/samples/a/initial_estimate"
    arguments = reconstruct_arguments(tmp_path / "r.zarr", initial=initial, **options)
    assert "window and method must be left out with an initial estimate" in refused(*arguments)


def test_an_initial_estimate_of_another_operator(
    project, reconstruct_arguments, cli, refused, tmp_path
):
    operator = ["--operator", project / "other.yaml"]
    np.save(tmp_path / "y.npy", np.ones(SHAPE, np.float32))
    measured = ["--measurements", tmp_path / "y.npy", "-o", tmp_path / "x0.zarr"]
    assert cli("initial", *operator, *measured)[0] == 0
    message = refused(*reconstruct_arguments(tmp_path / "r.zarr", initial=tmp_path / "x0.zarr"))
    assert "initial estimate must belong to the operator" in message


def test_another_programs_pickle_as_a_checkpoint(reconstruct_arguments, refused, tmp_path):
    (tmp_path / "other.pt").write_bytes(pickle.dumps({"a": 1}))
    arguments = reconstruct_arguments(tmp_path / "r.zarr", checkpoint=tmp_path / "other.pt")
    assert "checkpoint must be a file that `partunroll train` wrote" in refused(*arguments)


def test_more_photons_than_can_be_drawn(project, refused, tmp_path):
    arguments = ["--operator", project / "op.yaml", "--volumes", project / "a.npz"]
    options = ["--photons", 1e20, "-o", tmp_path / "data.zarr"]
    assert "photons must be at most 1e+15, got 1e+20" in refused("simulate", *arguments, *options)


def test_a_name_that_a_data_store_cannot_have(project, refused, tmp_path):
    np.save(tmp_path / "y.npy", np.ones(SHAPE, np.float32))
    arguments = ["--operator", project / "op.yaml", "--measurements", tmp_path / "y.npy"]
    options = ["--split", "test", "--name", "my scanner", "-o", tmp_path / "data.zarr"]
    message = refused("prepare", *arguments, *options)
    assert "name of the operator must begin with" in message
    assert "'my scanner'" in message


def test_objects_given_twice_or_not_at_all(project, refused, tmp_path):
    arguments = ["simulate", "--operator", project / "op.yaml", "-o", tmp_path / "data.zarr"]
    assert "got 0 volumes and 0 made objects" in refused(*arguments)
    both = ["--volumes", project / "a.npz", "--made-objects", 2]
    assert "got 1 volumes and 2 made objects" in refused(*arguments, *both)
    noise = ["--volumes", project / "a.npz", "--photons", 1e4, "--relative-noise", 0.1]
    assert "noise must be a photon count or a relative level" in refused(*arguments, *noise)


def test_operators_of_one_name(project, refused, tmp_path):
    (tmp_path / "op.yaml").write_text((project / "other.yaml").read_text())
    arguments = ["--operator", project / "op.yaml", tmp_path / "op.yaml"]
    volumes = ["--volumes", project / "a.npz", "-o", tmp_path / "data.zarr"]
    assert "got op twice" in refused("simulate", *arguments, *volumes)


def test_line_integrals_without_a_flat_field(refused, tmp_path):
    np.savez(tmp_path / "scan.npz", projections=np.ones((3, 4, 5)))
    message = refused("line-integrals", tmp_path / "scan.npz", "-o", tmp_path / "y.npy")
    assert "must hold arrays called projections and flat, got projections" in message
    message = refused("line-integrals", tmp_path / "scan.npz", "-o", tmp_path / "y.tif")
    assert "output must end in .npy or .zarr" in message


def test_training_without_a_factor_file(refused, tmp_path):
    message = refused("train", "--factors", tmp_path / "nothing.zarr", "-o", tmp_path / "run")
    assert "nothing.zarr must be a factor file" in message
    assert not (tmp_path / "run").exists()


def test_training_with_a_wrong_config(project, refused, tmp_path):
    (tmp_path / "train.yaml").write_text("steps: -3\nstep: 4\n")
    options = ["--config", tmp_path / "train.yaml", "-o", tmp_path / "run"]
    message = refused("train", "--factors", project / "factors.zarr", *options)
    assert "steps" in message
    assert "step:" in message
    assert not (tmp_path / "run").exists()
