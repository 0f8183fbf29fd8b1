"""The command reconstruct: what it writes and prints, and what it takes from the training."""

import json
from dataclasses import replace

import numpy as np
import pytest

from normalfit.specs import load_spec
from partunroll.errors import InputError
from partunroll.network.checkpoint import load_checkpoint, save_checkpoint
from partunroll.reconstruction.reconstruction_file import open_reconstruction
from partunroll.store.data_store import DataStore

SHAPE = (24, 20)


def test_reconstruct_writes_volumes_and_how_they_came_about(
    project, reconstruct_arguments, cli, tmp_path
):
    output = tmp_path / "recon.zarr"
    arguments = reconstruct_arguments(output, json=tmp_path / "recon.json")
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


def test_reconstruct_by_exact_operators_needs_no_factors(reconstruct_arguments, cli, tmp_path):
    by_factors, exact = tmp_path / "by_factors.zarr", tmp_path / "exact.zarr"
    assert cli(*reconstruct_arguments(by_factors))[0] == 0
    arguments = [a for a in reconstruct_arguments(exact) if "factors" not in a]
    assert cli(*arguments, "--patch-normal", "exact")[0] == 0
    assert open_reconstruction(exact).facts.factors is None
    np.testing.assert_allclose(
        open_reconstruction(exact).read("reconstruction"),
        open_reconstruction(by_factors).read("reconstruction"),
        atol=1e-4,
    )


def test_measurements_in_another_unit_give_the_volume_in_that_unit(
    project, reconstruct_arguments, cli, tmp_path
):
    measured = tmp_path / "y.npy"
    np.save(measured, 50 * DataStore.open(project / "data.zarr").read("a", "measurements"))
    scaled, plain = tmp_path / "scaled.zarr", tmp_path / "plain.zarr"
    arguments = reconstruct_arguments(scaled, measurements=measured)
    assert cli(*arguments, "--intensity-per-mm", 50)[0] == 0
    assert cli(*reconstruct_arguments(plain))[0] == 0
    np.testing.assert_allclose(
        open_reconstruction(scaled).read("reconstruction"),
        50 * open_reconstruction(plain).read("reconstruction"),
        rtol=1e-3,
        atol=1e-2,
    )
    code, out, _ = cli(*reconstruct_arguments(tmp_path / "x.zarr", measurements=measured))
    assert code == 0
    assert "another unit" in out


def test_reconstruct_makes_the_initial_estimate_as_in_training(
    reconstruct_arguments, project, cli, tmp_path
):
    checkpoint = load_checkpoint(project / "best.pt")
    as_fdk = replace(checkpoint.operators[0], initial_method="fdk", initial_window="ramp")
    save_checkpoint(tmp_path / "fdk.pt", replace(checkpoint, operators=(as_fdk,)))
    arguments = reconstruct_arguments(tmp_path / "recon.zarr", checkpoint=tmp_path / "fdk.pt")
    code, _, error = cli(*arguments)
    assert code == 2
    assert "method fdk must be used with a cone or parallel beam" in error
    assert cli(*arguments, "--method", "least-squares")[0] == 0  # an option still wins


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ("fdk", "ramp")),
        (("--window", "cosine"), ("fdk", "cosine")),
        (("--method", "auto"), ("auto", "ramp")),
    ],
    ids=str,
)
def test_reconstruct_takes_method_and_window_of_the_training_unless_given(
    reconstruct_arguments, project, cli, tmp_path, monkeypatch, options, expected
):
    checkpoint = load_checkpoint(project / "best.pt")
    as_fdk = replace(checkpoint.operators[0], initial_method="fdk", initial_window="ramp")
    save_checkpoint(tmp_path / "fdk.pt", replace(checkpoint, operators=(as_fdk,)))

    def stop(*arguments, method, window, **others):
        msg = f"scan asked for {method}, {window}"
        raise InputError(msg)

    monkeypatch.setattr("partunroll.reconstruction.reconstruction_job.load_scan", stop)
    arguments = reconstruct_arguments(tmp_path / "recon.zarr", checkpoint=tmp_path / "fdk.pt")
    _, _, error = cli(*arguments, *options)
    assert error == f"error: scan asked for {expected[0]}, {expected[1]}\n"


def test_reconstruct_applies_to_patches_what_training_did(
    reconstruct_arguments, project, cli, tmp_path
):
    checkpoint = replace(load_checkpoint(project / "best.pt"), normal="exact")
    save_checkpoint(tmp_path / "exact.pt", checkpoint)
    replaced = {"checkpoint": tmp_path / "exact.pt"}
    for name, options in (("default", ()), ("factors", ("--patch-normal", "factors"))):
        output = tmp_path / f"{name}.zarr"
        assert cli(*reconstruct_arguments(output, **replaced), *options)[0] == 0
    settings = [
        open_reconstruction(tmp_path / f"{name}.zarr").facts.settings["patch_normal"]
        for name in ("default", "factors")
    ]
    assert settings == ["restricted", "factors"]  # exact is its old name


def test_proximal_steps_solve_with_factors_where_that_is_asked(
    reconstruct_arguments, project, cli, tmp_path
):
    checkpoint = load_checkpoint(project / "best.pt")
    network = checkpoint.network.model_copy(update={"cg_iterations": 2})
    save_checkpoint(tmp_path / "proximal.pt", replace(checkpoint, network=network))
    replaced = {"checkpoint": tmp_path / "proximal.pt"}
    given = {
        "exact": ("--patch-normal", "restricted"),
        "stage-1": ("--patch-normal", "restricted", "--normal", "factors", "--refresh", "1"),
        "stage-2": ("--patch-normal", "corrected"),
    }
    volumes = {}
    for name, options in given.items():
        output = tmp_path / f"{name}.zarr"
        assert cli(*reconstruct_arguments(output, **replaced), *options)[0] == 0
        volumes[name] = open_reconstruction(output).read("reconstruction")
    for name in ("stage-1", "stage-2"):  # the project's factors are exact
        np.testing.assert_allclose(volumes[name], volumes["exact"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--patch-normal", "corrected"), "patch_normal must not be 'corrected' where no"),
        (("--normal", "factors", "--refresh", "1"), "refresh must be above 1 with normal"),
    ],
)
def test_factors_that_nothing_would_use_are_refused(
    reconstruct_arguments, refused, tmp_path, options, said
):
    assert said in refused(*reconstruct_arguments(tmp_path / "recon.zarr"), *options)


def test_exported_model_reconstructs_what_its_checkpoint_does_bit_for_bit(
    project, reconstruct_arguments, cli, refused, tmp_path
):
    model, figures = tmp_path / "model", tmp_path / "model.json"
    code, out, err = cli("export", project / "best.pt", "-o", model, "--json", figures)
    assert (code, err) == (0, "")
    assert "parameters" in out
    assert "model must" in refused(
        *reconstruct_arguments(tmp_path / "none.zarr", checkpoint=project)
    )
    assert "must not exist" in refused("export", project / "best.pt", "-o", model)
    volumes, facts = [], []
    for name, checkpoint in (("by_checkpoint", project / "best.pt"), ("by_model", model)):
        output = tmp_path / f"{name}.zarr"
        assert cli(*reconstruct_arguments(output, checkpoint=checkpoint))[0] == 0
        volumes.append(open_reconstruction(output).read("reconstruction"))
        facts.append(open_reconstruction(output).facts.checkpoint)
    np.testing.assert_array_equal(*volumes)
    assert facts[1]["sha256"] == json.loads(figures.read_text())["sha256"]
