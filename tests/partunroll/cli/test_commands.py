"""The commands: what they write and print."""

import json

import numpy as np
import pytest
import zarr

from partunroll.cli.list_options import repeat_list_options
from partunroll.reconstruction.reconstruction_file import open_reconstruction
from partunroll.store.data_store import DataStore


def test_list_options_are_repeated():
    arguments = ["--volumes", "a", "b", "-o", "x", "--patch", "8", "-9", "--same-grid", "c"]
    assert repeat_list_options(arguments, {"--volumes", "--patch"}) == [
        *["--volumes", "a", "--volumes", "b", "-o", "x"],
        *["--patch", "8", "--patch", "-9", "--same-grid", "c"],
    ]


def test_simulate_takes_several_volumes_and_operators(project, cli, tmp_path):
    code, out, _ = cli(
        *["simulate", "--operator", project / "op.yaml", project / "other.yaml"],
        *["--volumes", project / "a.npz", project / "b.npz"],
        *["--validation-volumes", project / "c.npz", "--relative-noise", 0.01, "--seed", 3],
        *["-o", tmp_path / "data.zarr", "--json", tmp_path / "summary.json"],
    )
    assert code == 0
    store = DataStore.open(tmp_path / "data.zarr")
    assert set(store.operators) == {"op", "other"}
    assert [s.split for s in store.samples].count("train") == 4
    assert [s.split for s in store.samples].count("validation") == 2
    assert json.loads((tmp_path / "summary.json").read_text())["splits"]["train"] == 4
    assert "inverse crime" in out  # a deconvolution has no finer grid


def test_evaluate_compares_every_volume(project, reconstruct_arguments, cli, tmp_path):
    recon, reference = tmp_path / "recon.zarr", project / "data.zarr/samples/a/reference"
    assert cli(*reconstruct_arguments(recon))[0] == 0
    files = ["--json", tmp_path / "figures.json", "--figure", tmp_path / "slices.png"]
    code, out, err = cli(
        "evaluate", "--reconstruction", recon, "--reference", reference, "--crop", 2, *files
    )
    assert (code, err) == (0, "")
    assert "data range" in out
    assert "without 2 voxels at every face" in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["volumes"]) == {"initial_estimate", "stage1", "reconstruction"}
    assert "inverse crime" in " ".join(figures["notes"])
    truth = zarr.open_array(reference, mode="r")[2:-2, 2:-2]
    x = open_reconstruction(recon).read("reconstruction")[2:-2, 2:-2]
    psnr = 10 * np.log10(figures["definition"]["data_range"] ** 2 / np.mean((x - truth) ** 2))
    assert figures["volumes"]["reconstruction"]["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert 0 < (tmp_path / "slices.png").stat().st_size < 300_000


def test_initial_makes_an_estimate_that_reconstruct_takes(
    project, reconstruct_arguments, cli, tmp_path
):
    measurements = project / "data.zarr/samples/a/measurements"
    arguments = ["--operator", project / "op.yaml", "--measurements", measurements]
    code, out, _ = cli("initial", *arguments, "-o", tmp_path / "x0.zarr", "--iterations", 3)
    assert code == 0
    assert "3 steps of least squares" in out
    output = tmp_path / "recon.zarr"
    assert cli(*reconstruct_arguments(output, initial=tmp_path / "x0.zarr"))[0] == 0
    x0 = open_reconstruction(output).read("initial_estimate")
    np.testing.assert_array_equal(x0, zarr.open_array(tmp_path / "x0.zarr", mode="r")[...])


def test_line_integrals_corrects_counts(cli, tmp_path):
    rng = np.random.default_rng(1)
    flat, dark = 1000 + rng.random((4, 5)), 10 + rng.random((4, 5))
    expected = rng.random((3, 4, 5))
    counts = dark + (flat - dark) * np.exp(-expected)
    np.savez(tmp_path / "scan.npz", projections=counts, flat=flat, dark=dark)
    code, _, _ = cli("line-integrals", tmp_path / "scan.npz", "-o", tmp_path / "y.npy")
    assert code == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)


def test_interruption_is_quiet(cli, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("partunroll.reconstruction.evaluation.evaluate", interrupted)
    code, out, err = cli("evaluate", "--reconstruction", "x", "--reference", "y")
    assert (code, out, err) == (130, "", "")


def test_prepare_stores_measured_data(project, cli, tmp_path):
    store = DataStore.open(project / "data.zarr")
    for name in ("measurements", "reference"):
        np.save(tmp_path / f"{name}.npy", 7 * store.read("a", name))
    code, out, _ = cli(
        *["prepare", "--operator", project / "op.yaml", "-o", tmp_path / "data.zarr"],
        *["--measurements", tmp_path / "measurements.npy", "--intensity-per-mm", 7],
        *["--reference", tmp_path / "reference.npy"],
    )
    assert code == 0
    assert "1 train samples; operators op" in out
    prepared = DataStore.open(tmp_path / "data.zarr")
    np.testing.assert_allclose(
        prepared.read("measurements", "reference"), store.read("a", "reference"), rtol=1e-5
    )


def test_train_and_resume_give_a_checkpoint_that_reconstructs(
    project, reconstruct_arguments, cli, tmp_path
):
    config = tmp_path / "train.yaml"
    prior = "{dim: 2, widths: [2, 2, 2, 2]}"
    config.write_text(f"network: {{iterations: 1, prior: {prior}}}\npatch_shape: 16\nbatch: 1\n")
    run = tmp_path / "run"
    files = ["--factors", project / "factors.zarr", "--data", project / "data.zarr", "-o", run]
    options = ["--config", config, "--steps", 2, "--seed", 5, "--json", tmp_path / "run.json"]
    options.append("--tensorboard")
    code, out, err = cli("train", *files, *options)
    assert (code, err) == (0, "")
    assert out.startswith("plan: ")
    assert "2 of 2 steps" in out
    assert (run / "tensorboard").is_dir()
    assert json.loads((tmp_path / "run.json").read_text())["step"] == 2
    assert cli("train", *files, "--resume")[0] == 0
    assert cli("train", *files, "--resume", "--seed", 6)[0] == 2
    assert cli("train", *files)[0] == 2  # it exists
    output = tmp_path / "recon.zarr"
    assert cli(*reconstruct_arguments(output, checkpoint=run / "best.pt"))[0] == 0


def test_plan_says_what_a_training_takes_and_leaves_nothing(project, cli, tmp_path):
    config, figures = tmp_path / "train.yaml", tmp_path / "plan.json"
    config.write_text("network: {iterations: 1, prior: {widths: [2, 2, 2, 2]}}\npatch_shape: 16\n")
    files = ["--factors", project / "factors.zarr", "-o", tmp_path / "run", "--config", config]
    code, out, err = cli("train", *files, "--plan", "--json", figures)
    assert (code, err) == (0, "")
    assert out.startswith("plan: ")
    assert json.loads(figures.read_text())["activations"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "train.yaml"]


def test_train_makes_its_own_objects(project, cli, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(
        "network: {iterations: 1, prior: {widths: [2, 2, 2, 2]}}\n"
        "made_objects: {train: 1, validation: 1, photons: null}\npatch_shape: 16\n"
    )
    options = ["--config", config, "--steps", 1, "-o", tmp_path / "run"]
    code, out, _ = cli("train", "--factors", project / "factors.zarr", *options)
    assert code == 0
    assert "best PSNR" in out


def test_any_name_of_a_file_becomes_a_name_in_the_store(project, cli, tmp_path):
    (tmp_path / "_my op (1).yaml").write_text((project / "op.yaml").read_text())
    arguments = ["--operator", tmp_path / "_my op (1).yaml", "--volumes", project / "a.npz"]
    code, out, _ = cli("simulate", *arguments, "-o", tmp_path / "data.zarr")
    assert code == 0
    assert "my-op-1" in out


def test_reports_name_the_inverse_crime(project, reconstruct_arguments, cli, tmp_path):
    options = ["--data", project / "data.zarr", "--steps", 1, "-o", tmp_path / "run"]
    config = tmp_path / "train.yaml"
    config.write_text("network: {prior: {widths: [2, 2, 2, 2]}}\npatch_shape: 16\n")
    arguments = ["--factors", project / "factors.zarr", "--config", config, *options]
    code, out, _ = cli("train", *arguments, "--json", tmp_path / "train.json")
    assert code == 0
    assert "note: 2 of the 2 samples of the data were simulated" in out
    assert "inverse crime" in json.loads((tmp_path / "train.json").read_text())["notes"][0]
    code, out, _ = cli(*reconstruct_arguments(tmp_path / "recon.zarr"))
    assert out.count("an inverse crime") == 1
