"""Every command does what its help says."""

import json
import sys

import pytest
import torch

from normalfit.factor_file import load_factors, open_factors
from normalfit.specs import load_spec
from normalfit.specs.template import template_kinds


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


def test_check_of_an_operator_with_another_adjoint_fails(call, tmp_path, write_python_operator):
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


@pytest.mark.parametrize(("options", "share"), [((), 0.25), (("--smooth-probes", 0), 0.0)])
def test_fit_says_how_many_probes_were_smooth(call, tmp_path, options, share):
    fit = ("fit", "--operator", "op.yaml", "-o", "f.zarr", "--terms", 1, "--probes", 8)
    assert call(*fit, *options, "--json", "f.json")[0] == 0
    report = json.loads((tmp_path / "f.json").read_text())["report"]
    assert report["options"]["smooth_probes"] == share


def test_adam_has_no_smooth_probes(call, assert_refused):
    fit = ("fit", "--operator", "op.yaml", "-o", "f.zarr", "--method", "adam")
    assert_refused(call(*fit, "--smooth-probes", 0.5), "options must be AdamOptions for adam")


def test_fit_is_repeatable(call, fitted, tmp_path):
    call("fit", "--operator", "op.yaml", "-o", "g.zarr", "--probes", 4)
    call("fit", "--operator", "op.yaml", "-o", "h.zarr", "--probes", 4, "--seed", 1)
    f, g, h = (
        load_factors(tmp_path / name).kernel.values for name in ("f.zarr", "g.zarr", "h.zarr")
    )
    assert torch.equal(f, g)
    assert not torch.equal(f, h)


def test_fit_says_its_memory_keeps_its_responses_and_goes_on_from_factors(
    call, tmp_path, assert_refused
):
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
    for part in ("normalfit-factors 1.0", "deconvolution", "12 × 10", "grid error", "converged"):
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
