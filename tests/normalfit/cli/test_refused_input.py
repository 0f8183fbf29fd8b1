"""Whatever a user gets wrong is one `error:` line, and nothing is lost."""

import pytest
import torch
import zarr

from normalfit.specs import load_spec


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "circular"), "model must be one of"),
        (("--lags", "4"), "number of lags must be"),
        (("--lags", "four"), "lags must be N, or one number per axis"),
        (("--boundary", "linear,periodic,linear"), "boundary must be"),
        (("--windows", "2"), "windows must only be given for the model local"),
        (("--model", "local", "--windows", "99"), "windows must be between 1 and"),
        (("--tolerance", "0.1", "--terms", "2"), "tolerance must not be given beside terms"),
        (("--model", "symmetric", "--terms", "2"), "terms must not be given for the model"),
        (("--method", "adam", "--model", "two-sided"), "model must be diagonal-circulant"),
        (("--start", "nothing.zarr"), "nothing.zarr must be a factor file"),
        (("--responses", "op.yaml"), "responses must be a folder"),
    ],
    ids=str,
)
def test_fits_that_cannot_be(call, tmp_path, options, said, assert_refused):
    code, _, error = call("fit", "--operator", "op.yaml", "-o", "f.zarr", *options)
    assert_refused((code, "", error), said)
    assert not (tmp_path / "f.zarr").exists()


def test_an_unknown_kind(call, tmp_path, assert_refused):
    assert_refused(call("template", "mri"), "kind must be one of", "'mri'")
    (tmp_path / "op.yaml").write_text("kind: mri\n")
    assert_refused(call("check", "--operator", "op.yaml"), "op.yaml", "mri")


def test_a_missing_key_and_every_other_problem(call, tmp_path, assert_refused):
    (tmp_path / "op.yaml").write_text("kind: deconvolution\nboundary: open\nsurprise: 1\n")
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr")
    assert_refused(result, "op.yaml", "volume_shape", "boundary", "surprise")
    assert not (tmp_path / "f.zarr").exists()


def test_a_missing_yaml(call, assert_refused):
    assert_refused(call("check", "--operator", "none.yaml"), "none.yaml")


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--method", "guess", "'guess'"),
        ("--boundary", "open", "'open'"),
        ("--device", "gpu", "'gpu'"),
        ("--terms", "0", "'--terms'"),
        ("--probes", "many", "'--probes'"),
        ("--seed", "-1", "'--seed'"),
        ("-o", "none/f.zarr", "folder of the output must exist"),
        ("--json", "none/f.json", "folder of the output must exist"),
        ("--json", "f.zarr", "outputs must differ"),
        ("--json", "../{folder}/f.zarr", "outputs must differ"),
        ("--json", "link/f.zarr", "outputs must differ"),
        ("--smooth-probes", "1", "smooth_probes must be from 0 to below 1, got 1.0"),
        ("--surprise", "1", "--surprise"),
    ],
)
def test_a_wrong_option(call, tmp_path, option, value, problem, assert_refused):
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    before = sorted(tmp_path.iterdir())
    value = value.format(folder=tmp_path.name)
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr", option, value)
    assert_refused(result, problem)
    assert sorted(tmp_path.iterdir()) == before


def test_a_gpu_that_is_not_there(call, tmp_path, monkeypatch, assert_refused):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr", "--device", "cuda")
    assert_refused(result, "device must be present", "'cuda'")
    assert not (tmp_path / "f.zarr").exists()
    assert_refused(call("check", "--operator", "op.yaml", "--device", "cuda"), "'cuda'")


def test_existing_outputs_are_kept_and_nothing_is_computed(
    call, fitted, tmp_path, monkeypatch, assert_refused
):
    before = {p: p.read_bytes() for p in fitted.rglob("*") if p.is_file()}
    for name in ("mine", "mine.png"):
        (tmp_path / name).write_text("mine")
    monkeypatch.setattr(type(load_spec(tmp_path / "op.yaml")), "build", None)
    fit = ("fit", "--operator", "op.yaml", "-o")
    assert_refused(call(*fit, "f.zarr"), "output must not exist yet, got f.zarr")
    assert_refused(call(*fit, "g.zarr", "--json", "mine"), "got mine")
    assert_refused(call("check", "--operator", "op.yaml", "--json", "mine"), "got mine")
    assert_refused(call("inspect", "f.zarr", "--json", "mine"), "got mine")
    assert_refused(call("plot", "f.zarr", "-o", "mine.png"), "got mine")
    evaluate = ("evaluate", "f.zarr", "--operator", "op.yaml")
    assert_refused(call(*evaluate, "--json", "mine"), "got mine")
    assert before == {p: p.read_bytes() for p in fitted.rglob("*") if p.is_file()}
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        "evaluate f.zarr --operator op.yaml --json f.zarr/e.json",
        "inspect f.zarr --json f.zarr/kernel/i.json",
        "plot f.zarr -o f.zarr/p.png",
        "fit --operator op.yaml -o f.zarr/inner.zarr",
        "fit --operator op.yaml -o g.zarr --json link/e.json",
        "fit --operator op.yaml -o g.zarr --responses f.zarr/responses",
        "fit --operator op.yaml -o f.zarr --overwrite --json f.zarr/e.json",
        "fit --operator op.yaml -o .. --json e.json",
        "fit --operator op.yaml -o /",
        "inspect f.zarr --json /",
    ],
)
def test_nothing_is_written_into_a_factor_file(call, fitted, tmp_path, command, assert_refused):
    (tmp_path / "link").symlink_to(fitted)
    before = sorted(tmp_path.rglob("*"))
    assert_refused(call(*command.split()), "must")
    assert sorted(tmp_path.rglob("*")) == before
    assert call("validate", "f.zarr")[0] == 0


def test_overwriting_loses_nothing_but_a_factor_file(call, fitted, assert_refused):
    stranger = fitted / "mine.txt"
    stranger.write_text("mine")
    fit = ("fit", "--operator", "op.yaml", "-o", "f.zarr", "--overwrite", "--probes", "2")
    assert_refused(
        call(*fit), "overwrite must lose nothing but a factor file, got f.zarr with mine"
    )
    assert stranger.read_text() == "mine"
    stranger.unlink()
    assert call(*fit)[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "f.zarr", "--responses", "f.zarr"),
        ("-o", "f.zarr", "--responses", "f.zarr/deep/down"),
        ("-o", "kept/f.zarr", "--responses", "kept"),
        ("-o", "f.zarr", "--responses", "."),
        ("-o", "f.zarr", "--responses", "link/f.zarr"),
        ("-o", "f.zarr", "--json", "f.json", "--responses", "f.json"),
        ("-o", "f.zarr", "--json", "kept/f.json", "--responses", "kept"),
    ],
    ids=" ".join,
)
def test_responses_that_would_be_in_the_way_of_an_output(call, tmp_path, options, assert_refused):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = call("fit", "--operator", "op.yaml", *options)
    assert_refused(result, "responses must lie apart from the output")
    assert sorted(tmp_path.rglob("*")) == before


def test_factors_of_another_operator(call, fitted, tmp_path, assert_refused):
    wanted, found = (load_spec(tmp_path / f"{n}.yaml").fingerprint for n in ("other", "op"))
    for command in (("evaluate", "f.zarr"), ("plot", "f.zarr", "-o", "f.png")):
        assert_refused(call(*command, "--operator", "other.yaml"), wanted, found)


@pytest.mark.parametrize("command", [("inspect",), ("evaluate", "--operator", "op.yaml")])
def test_no_factor_file(call, command, assert_refused):
    assert_refused(call(command[0], "none.zarr", *command[1:]), "none.zarr", "factor file")
    assert_refused(call(command[0], "op.yaml", *command[1:]), "op.yaml", "factor file")


@pytest.mark.parametrize("kept", [0, 5, -3])
def test_a_truncated_file(call, fitted, kept, assert_refused):
    header = fitted / "zarr.json"
    header.write_bytes(header.read_bytes()[:kept])
    assert_refused(call("inspect", "f.zarr"), "f.zarr must be a sound factor file")


def test_a_corrupt_chunk(call, fitted, assert_refused):
    chunk = fitted / "kernel/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    for command in (
        ("evaluate", "f.zarr", "--operator", "op.yaml"),
        ("plot", "f.zarr", "-o", "p.png"),
    ):
        assert_refused(call(*command), "f.zarr must be a sound factor file")


def test_a_missing_chunk(call, fitted, assert_refused):
    (fitted / "u/c/0/0/0").unlink()
    result = call("evaluate", "f.zarr", "--operator", "op.yaml")
    assert_refused(result, "chunk 0/0/0 of u must exist")


def test_a_newer_version(call, fitted, assert_refused):
    zarr.open_group(fitted).attrs["version"] = "7.0"
    assert_refused(call("inspect", "f.zarr"), "version must be 0.1", "'7.0'")


@pytest.mark.parametrize("patch", ["0", "13", "6,6,6", "six", "6,"])
def test_a_patch_that_does_not_fit(call, fitted, patch, assert_refused):
    result = call("evaluate", "f.zarr", "--operator", "op.yaml", "--patch", patch)
    assert_refused(result, "patch must be N, or one number per axis", f"got '{patch}'")


def test_an_operator_that_returns_nan(call, tmp_path, assert_refused, write_python_operator):
    (tmp_path / "nan_operator.py").write_text(
        "from normalfit import FunctionOperator, Grid\n"
        "def make():\n"
        "    grid = Grid((4, 4))\n"
        "    return FunctionOperator(grid, grid, lambda x: x / 0, lambda y: y)\n"
    )
    write_python_operator(tmp_path / "op.yaml", "nan_operator:make")
    code, out, error = call("fit", "--operator", "op.yaml", "-o", "f.zarr")
    assert out.startswith("the fit needs up to ")  # said before anything is computed
    assert_refused((code, "", error), "finite")
    assert not (tmp_path / "f.zarr").exists()
