"""Every command does what its help says, and whatever a user gets wrong is one `error:` line."""

import json
import sys

import pytest
import torch
import yaml
import zarr

from normalfit.cli import main
from normalfit.factor_file import load_factors, open_factors
from normalfit.specs import load_spec
from normalfit.specs.template import template_kinds

OPERATOR = """
kind: deconvolution
volume_shape: [12, 10]
gaussian_std_voxels: 1.0
boundary: linear
"""


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in `tmp_path` and returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "op.yaml").write_text(OPERATOR)
    (tmp_path / "other.yaml").write_text(OPERATOR.replace("1.0", "2.0"))

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["normalfit", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run


@pytest.fixture
def fitted(call, tmp_path):
    """Return the path of a factor file of op.yaml."""
    code, _, error = call("fit", "--operator", "op.yaml", "-o", "f.zarr", "--probes", 4)
    assert (code, error) == (0, "")
    return tmp_path / "f.zarr"


def assert_refused(result, *parts):
    code, out, error = result
    assert code == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def write_python_operator(path, function):
    document = {"kind": "python", "function": function, "arguments": {}}
    path.write_text(yaml.safe_dump(document))


def assert_estimate(figures):
    assert set(figures) == {"value", "low", "high", "probes"}
    assert figures["low"] <= figures["value"] <= figures["high"]


@pytest.mark.parametrize("kind", template_kinds())
def test_a_template_is_an_operator(call, tmp_path, kind):
    code, out, error = call("template", kind)
    assert (code, error) == (0, "")
    (tmp_path / "template.yaml").write_text(out)
    assert load_spec(tmp_path / "template.yaml").kind == kind


def test_check_prints_and_writes_figures(call, tmp_path):
    code, out, error = call("check", "--operator", "op.yaml", "--json", "c.json")
    assert (code, error) == (0, "")
    assert "adjointness" in out
    assert json.loads((tmp_path / "c.json").read_text())["linearity"] < 1e-5


def test_check_of_an_operator_with_another_adjoint_fails(call, tmp_path):
    (tmp_path / "wrong_operator.py").write_text(
        "from normalfit import FunctionOperator, Grid\n"
        "def make():\n"
        "    grid = Grid((4, 4))\n"
        "    return FunctionOperator(grid, grid, lambda x: x.cumsum(-1), lambda y: y)\n"
    )
    write_python_operator(tmp_path / "op.yaml", "wrong_operator:make")
    code, out, error = call("check", "--operator", "op.yaml")
    assert (code, error) == (1, "")
    assert "failed: " in out


def test_fit_writes_a_file_and_its_figures(call, tmp_path):
    code, out, error = call(
        "fit", "--operator", "op.yaml", "-o", "f.zarr", "--terms", 2, "--boundary", "periodic",
        "--method", "adam", "--probes", 8, "--seed", 3, "--device", "cpu", "--json", "f.json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    for part in ("f.zarr", "2 terms", "periodic boundary", "grid error", "95 %", "norm of A*A"):
        assert part in out
    file = open_factors(tmp_path / "f.zarr")
    assert file.terms == 2
    assert file.boundary == ("periodic", "periodic")
    assert file.fingerprint == load_spec(tmp_path / "op.yaml").fingerprint
    assert str(file.header.command).startswith("normalfit fit --operator op.yaml")
    figures = json.loads((tmp_path / "f.json").read_text())
    assert_estimate(figures["grid_error"])
    assert_estimate(figures["patch_error"])
    assert figures["report"]["method"] == "adam"
    assert figures["report"]["seed"] == 3


def test_fit_is_repeatable(call, fitted, tmp_path):
    call("fit", "--operator", "op.yaml", "-o", "g.zarr", "--probes", 4)
    call("fit", "--operator", "op.yaml", "-o", "h.zarr", "--probes", 4, "--seed", 1)
    f, g, h = (
        load_factors(tmp_path / name).kernel.values for name in ("f.zarr", "g.zarr", "h.zarr")
    )
    assert torch.equal(f, g)
    assert not torch.equal(f, h)


def test_fit_says_its_memory_keeps_its_responses_and_goes_on_from_factors(call, tmp_path):
    options = ("--operator", "op.yaml", "--probes", 4, "--terms", 1, "--responses", "kept")
    code, out, error = call("fit", *options, "-o", "f.zarr")
    assert (code, error) == (0, "")
    assert out.startswith("the fit needs up to ")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 1 + 4 + 8 + 16  # the header, training, held-out, evaluation
    code, _, error = call("fit", *options, "-o", "g.zarr", "--start", "f.zarr")
    assert (code, error) == (0, "")
    first, resumed = (
        [point["held_out_error"] for point in open_factors(path).metadata.report["history"]]
        for path in (tmp_path / "f.zarr", tmp_path / "g.zarr")
    )
    assert resumed[0] < 1.05 * min(first)
    kept[-1].write_bytes(b"short")
    result = call("fit", *options, "-o", "h.zarr")
    code, _, error = result
    assert_refused((code, "", error), "must have its length and checksum", "delete it")


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
def test_fits_that_cannot_be(call, tmp_path, options, said):
    code, _, error = call("fit", "--operator", "op.yaml", "-o", "f.zarr", *options)
    assert_refused((code, "", error), said)
    assert not (tmp_path / "f.zarr").exists()


def test_evaluate(call, fitted, tmp_path):
    code, out, error = call(
        "evaluate", "f.zarr", "--operator", "op.yaml", "--probes", 4, "--seed", 5,
        "--patch", "6", "--json", "e.json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert "95 %, 4 probes" in out
    figures = json.loads((tmp_path / "e.json").read_text())
    assert_estimate(figures["grid_error"])
    assert_estimate(figures["patch_error"])
    assert figures["grid_error"]["probes"] == 4
    assert figures["patch_shape"] == [6, 6]


def test_evaluate_uses_its_seed_and_probes_no_fit_has_seen(call, fitted, tmp_path):
    for seed in (0, 1):
        call(
            "evaluate", "f.zarr", "--operator", "op.yaml", "--seed", seed, "--json", f"{seed}.json"
        )
    errors = [
        json.loads((tmp_path / f"{s}.json").read_text())["grid_error"]["value"] for s in (0, 1)
    ]
    assert errors[0] != errors[1]


def test_inspect(call, fitted, tmp_path):
    code, out, error = call("inspect", "f.zarr", "--json", "i.json")
    assert (code, error) == (0, "")
    for part in ("normalfit-factors 0.1", "deconvolution", "12 × 10", "grid error", "converged"):
        assert part in out
    figures = json.loads((tmp_path / "i.json").read_text())
    assert figures["shape"] == [12, 10]
    assert figures["operator"]["kind"] == "deconvolution"
    assert_estimate(figures["patch_error"])


def test_plot(call, fitted, tmp_path):
    code, _, error = call("plot", "f.zarr", "-o", "f.png")
    assert (code, error) == (0, "")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_stored_python_function_is_built_from_a_yaml_only(call, tmp_path, monkeypatch):
    (tmp_path / "python.yaml").write_text(call("template", "python")[1])
    assert call("fit", "--operator", "python.yaml", "-o", "p.zarr", "--probes", 4)[0] == 0
    built = []
    module = sys.modules["normalfit.operators.example_operator"]
    function = module.moving_average

    def recorded(**arguments):
        built.append(arguments)
        return function(**arguments)

    monkeypatch.setattr(module, "moving_average", recorded)
    assert call("plot", "p.zarr", "-o", "without.png")[0] == 0
    assert not built
    assert call("plot", "p.zarr", "-o", "with.png", "--operator", "python.yaml")[0] == 0
    assert built


@pytest.mark.parametrize("command", ["template", "check", "fit", "evaluate", "inspect", "plot"])
def test_help(call, command):
    code, out, error = call(command, "--help")
    assert (code, error) == (0, "")
    assert "Usage" in out


def test_the_help_of_template_names_every_kind(call):
    out = call("template", "--help")[1]
    assert all(kind in out for kind in template_kinds())


# What users get wrong.


def test_an_unknown_kind(call, tmp_path):
    assert_refused(call("template", "mri"), "kind must be one of", "'mri'")
    (tmp_path / "op.yaml").write_text("kind: mri\n")
    assert_refused(call("check", "--operator", "op.yaml"), "op.yaml", "mri")


def test_a_missing_key_and_every_other_problem(call, tmp_path):
    (tmp_path / "op.yaml").write_text("kind: deconvolution\nboundary: open\nsurprise: 1\n")
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr")
    assert_refused(result, "op.yaml", "volume_shape", "boundary", "surprise")
    assert not (tmp_path / "f.zarr").exists()


def test_a_missing_yaml(call):
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
        ("--surprise", "1", "--surprise"),
    ],
)
def test_a_wrong_option(call, tmp_path, option, value, problem):
    before = sorted(tmp_path.iterdir())
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr", option, value)
    assert_refused(result, problem)
    assert sorted(tmp_path.iterdir()) == before


def test_a_gpu_that_is_not_there(call, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = call("fit", "--operator", "op.yaml", "-o", "f.zarr", "--device", "cuda")
    assert_refused(result, "device must be present", "'cuda'")
    assert not (tmp_path / "f.zarr").exists()
    assert_refused(call("check", "--operator", "op.yaml", "--device", "cuda"), "'cuda'")


def test_existing_outputs_are_kept_and_nothing_is_computed(call, fitted, tmp_path, monkeypatch):
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


def test_factors_of_another_operator(call, fitted, tmp_path):
    wanted, found = (load_spec(tmp_path / f"{n}.yaml").fingerprint for n in ("other", "op"))
    for command in (("evaluate", "f.zarr"), ("plot", "f.zarr", "-o", "f.png")):
        assert_refused(call(*command, "--operator", "other.yaml"), wanted, found)


@pytest.mark.parametrize("command", [("inspect",), ("evaluate", "--operator", "op.yaml")])
def test_no_factor_file(call, command):
    assert_refused(call(command[0], "none.zarr", *command[1:]), "none.zarr", "factor file")
    assert_refused(call(command[0], "op.yaml", *command[1:]), "op.yaml", "factor file")


@pytest.mark.parametrize("kept", [0, 5, -3])
def test_a_truncated_file(call, fitted, kept):
    header = fitted / "zarr.json"
    header.write_bytes(header.read_bytes()[:kept])
    assert_refused(call("inspect", "f.zarr"), "f.zarr must be a sound factor file")


def test_a_corrupt_chunk(call, fitted):
    chunk = fitted / "kernel/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    for command in (
        ("evaluate", "f.zarr", "--operator", "op.yaml"),
        ("plot", "f.zarr", "-o", "p.png"),
    ):
        assert_refused(call(*command), "f.zarr must be a sound factor file")


def test_a_missing_chunk(call, fitted):
    (fitted / "u/c/0/0/0").unlink()
    result = call("evaluate", "f.zarr", "--operator", "op.yaml")
    assert_refused(result, "chunk 0/0/0 of u must exist")


def test_a_newer_version(call, fitted):
    zarr.open_group(fitted).attrs["version"] = "7.0"
    assert_refused(call("inspect", "f.zarr"), "version must be 0.1", "'7.0'")


@pytest.mark.parametrize("patch", ["0", "13", "6,6,6", "six", "6,"])
def test_a_patch_that_does_not_fit(call, fitted, patch):
    result = call("evaluate", "f.zarr", "--operator", "op.yaml", "--patch", patch)
    assert_refused(result, "patch must be N, or one number per axis", f"got '{patch}'")


def test_an_operator_that_returns_nan(call, tmp_path):
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
