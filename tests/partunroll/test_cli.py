"""The command line: results on stdout, one `error:` line and exit code 2 for bad input."""

import json
import sys

import numpy as np
import pytest
import torch
import zarr

from normalfit.factor_file import save_factors
from normalfit.factor_metadata import FactorMetadata
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import load_spec
from normalfit.spectral_norm import SpectralNorm
from partunroll.checkpoint import Checkpoint, TrainedOperator, save_checkpoint
from partunroll.cli import main
from partunroll.cli.list_options import repeat_list_options
from partunroll.config import PriorConfig, UnrolledConfig
from partunroll.data_store import DataStore
from partunroll.network import build_network
from partunroll.reconstruction_file import open_reconstruction

SHAPE = (24, 20)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Operators, factors, a checkpoint and a data store of 2-D deconvolution, made once."""
    folder = tmp_path_factory.mktemp("project")
    write_operator(folder / "op.yaml", 1.2)
    write_operator(folder / "other.yaml", 1.5)
    norm = write_factors(folder / "factors.zarr", folder / "op.yaml")
    write_factors(folder / "other.zarr", folder / "other.yaml")
    write_checkpoint(folder / "best.pt", folder / "op.yaml", norm)
    rng = np.random.default_rng(3)
    for name in "abc":
        np.savez(folder / f"{name}.npz", volume=rng.random(SHAPE, dtype=np.float32))
    operator, volumes = ["--operator", folder / "op.yaml"], [folder / f"{n}.npz" for n in "ab"]
    with pytest.raises(SystemExit) as ended:
        call("simulate", *operator, "--volumes", *volumes, "-o", folder / "data.zarr")
    assert ended.value.code == 0
    return folder


@pytest.fixture
def cli(capfd):
    """Run a command; return its exit code, its stdout and its stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            call(*arguments)
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def refused(cli):
    """Run a command that must fail as a user's error does; return its message."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


def call(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["partunroll", *map(str, arguments)])
        main()


def write_operator(path, std):
    lines = ["kind: deconvolution", f"volume_shape: {list(SHAPE)}", f"gaussian_std_voxels: {std}"]
    path.write_text("\n".join([*lines, "boundary: periodic", ""]))


def write_factors(path, yaml):
    """Write exact factors: A*A is a periodic convolution, its kernel the response of a point."""
    spec = load_spec(yaml)
    point = torch.zeros(SHAPE)
    point[SHAPE[0] // 2, SHAPE[1] // 2] = 1
    kernel = spec.build().normal(point)
    norm = float(kernel.sum())
    metadata = FactorMetadata(spec, spec.fingerprint, SpectralNorm(norm, True, 1), 0.0)
    save_factors(path, Factors(LagKernel(kernel[None], SHAPE, ("periodic",) * 2)), metadata)
    return norm


def write_checkpoint(path, yaml, norm):
    config = UnrolledConfig(iterations=2, prior=PriorConfig(dim=2, widths=(2, 2, 2, 2)))
    torch.manual_seed(0)
    network = build_network(config)
    trained = TrainedOperator("op", load_spec(yaml).fingerprint, norm)
    save_checkpoint(path, Checkpoint(config, network.state_dict(), (trained,), (16, 16), step=0))


def reconstruct_arguments(project, output, **replaced):
    options = {
        "--checkpoint": project / "best.pt",
        "--operator": project / "op.yaml",
        "--factors": project / "factors.zarr",
        "--measurements": project / "data.zarr/samples/a/measurements",
        "-o": output,
    }
    options |= {f"--{name}": value for name, value in replaced.items()}
    return ["reconstruct", *(str(part) for option in options.items() for part in option)]


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


def test_reconstruct_writes_volumes_and_how_they_came_about(project, cli, tmp_path):
    output = tmp_path / "recon.zarr"
    arguments = reconstruct_arguments(project, output, json=tmp_path / "recon.json")
    code, out, err = cli(*arguments, "--patch", 16, 12)
    assert (code, err) == (0, "")
    assert "residual" in out
    file = open_reconstruction(output)
    for name in ("reconstruction", "stage1", "initial_estimate"):
        assert file.read(name).shape == SHAPE
    facts = json.loads((tmp_path / "recon.json").read_text())
    assert facts["settings"]["patch_shape"] == [16, 12]
    assert facts["settings"]["stages"] == 2
    assert facts["command"].startswith("partunroll reconstruct")
    assert facts["fingerprint"] == load_spec(project / "op.yaml").fingerprint
    assert len(facts["iterations"]) == 2
    store = DataStore.open(project / "data.zarr")
    np.testing.assert_array_equal(
        file.read("initial_estimate"), store.read("a", "initial_estimate")
    )


def test_reconstruct_by_exact_operators_needs_no_factors(project, cli, tmp_path):
    by_factors, exact = tmp_path / "by_factors.zarr", tmp_path / "exact.zarr"
    assert cli(*reconstruct_arguments(project, by_factors))[0] == 0
    arguments = [a for a in reconstruct_arguments(project, exact) if "factors" not in a]
    assert cli(*arguments, "--patch-normal", "exact")[0] == 0
    assert open_reconstruction(exact).facts.factors is None
    np.testing.assert_allclose(
        open_reconstruction(exact).read("reconstruction"),
        open_reconstruction(by_factors).read("reconstruction"),
        atol=1e-4,
    )


def test_measurements_in_another_unit_give_the_volume_in_that_unit(project, cli, tmp_path):
    measured = tmp_path / "y.npy"
    np.save(measured, 50 * DataStore.open(project / "data.zarr").read("a", "measurements"))
    scaled, plain = tmp_path / "scaled.zarr", tmp_path / "plain.zarr"
    arguments = reconstruct_arguments(project, scaled, measurements=measured)
    assert cli(*arguments, "--intensity-per-mm", 50)[0] == 0
    assert cli(*reconstruct_arguments(project, plain))[0] == 0
    np.testing.assert_allclose(
        open_reconstruction(scaled).read("reconstruction"),
        50 * open_reconstruction(plain).read("reconstruction"),
        rtol=1e-3,
        atol=1e-2,
    )
    code, out, _ = cli(*reconstruct_arguments(project, tmp_path / "x.zarr", measurements=measured))
    assert code == 0
    assert "another unit" in out


def test_evaluate_compares_every_volume(project, cli, tmp_path):
    recon, reference = tmp_path / "recon.zarr", project / "data.zarr/samples/a/reference"
    assert cli(*reconstruct_arguments(project, recon))[0] == 0
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


def test_initial_makes_an_estimate_that_reconstruct_takes(project, cli, tmp_path):
    measurements = project / "data.zarr/samples/a/measurements"
    arguments = ["--operator", project / "op.yaml", "--measurements", measurements]
    code, out, _ = cli("initial", *arguments, "-o", tmp_path / "x0.zarr", "--iterations", 3)
    assert code == 0
    assert "3 steps of least squares" in out
    output = tmp_path / "recon.zarr"
    assert cli(*reconstruct_arguments(project, output, initial=tmp_path / "x0.zarr"))[0] == 0
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


class TestRefused:
    """What a user can cause: one line, exit code 2, and nothing lost."""

    def test_wrong_usage(self, refused):
        assert "Missing option '--reference'" in refused("evaluate", "--reconstruction", "x")
        assert "No such option" in refused("demo", "--fast")
        assert "No such command" in refused("evaluat")
        assert "'both' is not" in refused("simulate", "--split", "both")

    def test_missing_files(self, project, refused, tmp_path):
        output = tmp_path / "recon.zarr"
        for option in ("checkpoint", "operator", "factors", "measurements", "initial"):
            replaced = {option: tmp_path / "nothing"}
            message = refused(*reconstruct_arguments(project, output, **replaced))
            assert "nothing" in message
        assert not output.exists()

    def test_an_existing_output_before_anything_else(self, project, refused, tmp_path):
        output = tmp_path / "recon.zarr"
        output.mkdir()
        (output / "precious").write_text("data")
        arguments = reconstruct_arguments(project, output, checkpoint="missing.pt")
        assert "output must not exist yet" in refused(*arguments)
        assert (output / "precious").read_text() == "data"
        for command in ("simulate", "initial", "prepare"):
            arguments = ["--operator", "missing.yaml", "-o", output]
            measurements = [] if command == "simulate" else ["--measurements", "missing.npy"]
            message = refused(command, *arguments, *measurements)
            assert "output must not exist yet" in message

    def test_a_missing_folder_of_the_output(self, project, refused, tmp_path):
        message = refused(*reconstruct_arguments(project, tmp_path / "missing" / "recon.zarr"))
        assert "folder of the output must exist" in message

    def test_nan_in_measurements(self, project, refused, tmp_path):
        y = np.zeros(SHAPE, np.float32)
        y[3, 4] = np.nan
        np.save(tmp_path / "y.npy", y)
        message = refused(
            *reconstruct_arguments(project, tmp_path / "r.zarr", measurements=tmp_path / "y.npy")
        )
        assert "measurements must be finite" in message
        assert "(3, 4)" in message

    def test_wrong_shapes_naming_both(self, project, refused, tmp_path):
        np.save(tmp_path / "y.npy", np.zeros((5, 6), np.float32))
        wrong, output = tmp_path / "y.npy", tmp_path / "recon.zarr"
        for option in ("measurements", "initial"):
            message = refused(*reconstruct_arguments(project, output, **{option: wrong}))
            assert "(24, 20), got (5, 6)" in message
        reference = ["--reference", project / "a.npz"]
        message = refused("evaluate", "--reconstruction", wrong, *reference)
        assert "(24, 20), got (5, 6)" in message

    def test_factors_of_another_operator_naming_both_fingerprints(self, project, refused, tmp_path):
        arguments = reconstruct_arguments(
            project, tmp_path / "r.zarr", factors=project / "other.zarr"
        )
        message = refused(*arguments)
        for name in ("op", "other"):
            assert load_spec(project / f"{name}.yaml").fingerprint[:12] in message

    def test_measurements_of_another_operator(self, project, refused, tmp_path):
        measurements = project / "data.zarr/samples/a/measurements"
        arguments = ["--operator", project / "other.yaml", "--measurements", measurements]
        message = refused("initial", *arguments, "-o", tmp_path / "x0.npy")
        for name in ("op", "other"):
            assert load_spec(project / f"{name}.yaml").fingerprint in message

    def test_a_checkpoint_of_another_operator(self, project, refused, tmp_path):
        arguments = reconstruct_arguments(
            project, tmp_path / "r.zarr", operator=project / "other.yaml"
        )
        assert "operator must be one the checkpoint was trained with" in refused(*arguments)

    def test_factors_of_another_norm(self, project, refused, tmp_path):
        write_checkpoint(tmp_path / "old.pt", project / "op.yaml", 0.5)
        arguments = reconstruct_arguments(
            project, tmp_path / "r.zarr", checkpoint=tmp_path / "old.pt"
        )
        assert "norm of the factors must be the one of the training, 0.5" in refused(*arguments)

    def test_damaged_files(self, project, refused, tmp_path):
        whole = (project / "best.pt").read_bytes()
        (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "text.zarr").mkdir()
        (tmp_path / "text.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
        output = tmp_path / "recon.zarr"
        refused(*reconstruct_arguments(project, output, checkpoint=tmp_path / "cut.pt"))
        refused(*reconstruct_arguments(project, output, factors=tmp_path / "text.zarr"))
        refused(*reconstruct_arguments(project, output, measurements=tmp_path / "text.zarr"))
        (tmp_path / "op.yaml").write_text("kind: [")
        refused(*reconstruct_arguments(project, output, operator=tmp_path / "op.yaml"))
        assert not output.exists()

    def test_a_gpu_where_there_is_none(self, project, refused, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        message = refused(*reconstruct_arguments(project, tmp_path / "r.zarr", device="cuda"))
        assert "device must be present, got 'cuda'" in message
        message = refused(*reconstruct_arguments(project, tmp_path / "r.zarr", device="tpu"))
        assert "device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got 'tpu'" in message

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"refresh": 2}, "refresh must be at least 1, and 1 with normal 'exact', got 2"),
            ({"patch": 0}, "patch_shape must fit into the volume (24, 20), got (0, 0)"),
            ({"overlap": 16}, "overlap must be 0 … 15 for (16, 16), got 16"),
            ({"stages": 3}, "Invalid value for '--stages'"),
            ({"normal": "both"}, "'both' is not"),
            ({"intensity-per-mm": "much"}, "must be a number or 'auto', got 'much'"),
            ({"intensity-per-mm": -1}, "must be a positive number, got -1.0"),
            ({"window": "flat", "method": "fdk"}, "method fdk must be used with a cone"),
        ],
    )
    def test_wrong_options(self, project, refused, tmp_path, options, message):
        assert message in refused(*reconstruct_arguments(project, tmp_path / "r.zarr", **options))

    def test_objects_given_twice_or_not_at_all(self, project, refused, tmp_path):
        arguments = ["simulate", "--operator", project / "op.yaml", "-o", tmp_path / "data.zarr"]
        assert "got 0 volumes and 0 made objects" in refused(*arguments)
        both = ["--volumes", project / "a.npz", "--made-objects", 2]
        assert "got 1 volumes and 2 made objects" in refused(*arguments, *both)
        noise = ["--volumes", project / "a.npz", "--photons", 1e4, "--relative-noise", 0.1]
        assert "noise must be a photon count or a relative level" in refused(*arguments, *noise)

    def test_operators_of_one_name(self, project, refused, tmp_path):
        (tmp_path / "op.yaml").write_text((project / "other.yaml").read_text())
        arguments = ["--operator", project / "op.yaml", tmp_path / "op.yaml"]
        volumes = ["--volumes", project / "a.npz", "-o", tmp_path / "data.zarr"]
        assert "got op twice" in refused("simulate", *arguments, *volumes)

    def test_line_integrals_without_a_flat_field(self, refused, tmp_path):
        np.savez(tmp_path / "scan.npz", projections=np.ones((3, 4, 5)))
        message = refused("line-integrals", tmp_path / "scan.npz", "-o", tmp_path / "y.npy")
        assert "must hold arrays called projections and flat, got projections" in message
        message = refused("line-integrals", tmp_path / "scan.npz", "-o", tmp_path / "y.tif")
        assert "output must end in .npy or .zarr" in message

    def test_training_without_a_factor_file(self, refused, tmp_path):
        message = refused("train", "--factors", tmp_path / "nothing.zarr", "-o", tmp_path / "run")
        assert "nothing.zarr must be a factor file" in message
        assert not (tmp_path / "run").exists()

    def test_training_with_a_wrong_config(self, project, refused, tmp_path):
        (tmp_path / "train.yaml").write_text("steps: -3\nstep: 4\n")
        options = ["--config", tmp_path / "train.yaml", "-o", tmp_path / "run"]
        message = refused("train", "--factors", project / "factors.zarr", *options)
        assert "steps" in message
        assert "step:" in message
        assert not (tmp_path / "run").exists()


def test_interruption_is_quiet(cli, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("partunroll.evaluation.evaluate", interrupted)
    code, out, err = cli("evaluate", "--reconstruction", "x", "--reference", "y")
    assert (code, out, err) == (130, "", "")
