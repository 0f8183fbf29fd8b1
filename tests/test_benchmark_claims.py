"""The claims of benchmarks hold and fail by the figures, and every script ends in its claim."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "preconditioned_cg": ["--size", "16", "--cone-size", "16", "--probes", "8"],
    "factors_are_fast": ["--sizes", "16", "--repeats", "1"],
}
LONGER = {
    "fit_needs_fewer_applications": ["--square", "12", "--cube", "6", "--steps", "40"],
    "terms_lower_the_error": ["--quick"],
    "accuracy_and_reconstruction": ["--quick", "--size", "24", "--seeds", "0", "1"],
}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def runs_to_its_claim(name, options, folder):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options]
    done = subprocess.run(  # noqa: S603 - our own script
        [*command, "--output", str(folder / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode in (0, 1), done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("claim fails: " if done.returncode else "claim holds: ")
    assert json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert (folder / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize("name", TINY)
def test_a_script_ends_in_its_claim(name, tmp_path):
    runs_to_its_claim(name, TINY[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_a_longer_script_ends_in_its_claim(name, tmp_path):
    runs_to_its_claim(name, LONGER[name], tmp_path)


def error_rows(**default):
    """Rows of three models at 16, 128 and 512 probes; those of the default as given."""
    paper = {"grid": 1.0, "smooth": 1.0, "objects": 1.0}
    single = {"grid": 0.8, "smooth": 0.8, "objects": 0.8}
    models = {"periodic D C (paper)": paper, "D C": single, "default": default}
    return [
        {"model": model, "probes": probes, **errors}
        for probes in (16, 128, 512)
        for model, errors in models.items()
    ]


@pytest.mark.parametrize(
    ("changed", "failed"),
    [
        ({}, []),
        ({"grid": 0.9}, ["best model, grid, 128", "D C, grid, 16", "D C, grid, 128"]),
        ({"smooth": 0.78}, ["paper, smooth, 128"]),
        ({"objects": 0.82}, ["paper, objects, 128", "D C, objects, 16", "D C, objects, 128"]),
    ],
)
def test_the_default_is_judged_at_its_probes_and_within_256(script, changed, failed):
    claims_from_probes = script("terms_lower_the_error").claims_from_probes
    good = {"grid": 0.6, "smooth": 0.5, "objects": 0.7}
    found = claims_from_probes(error_rows(**good | changed))
    assert len(found) == 9
    wrong = [claim.text.split(" probes")[0] for claim in found if not claim.holds]
    assert wrong == [f"default / {text}" for text in failed]


def test_a_model_that_is_better_than_the_default_fails_the_claim(script):
    rows = error_rows(grid=0.6, smooth=0.5, objects=0.7)
    rows.append({"model": "local", "probes": 128, "grid": 0.5, "smooth": 1, "objects": 1})
    found = script("terms_lower_the_error").claims_from_probes(rows)
    wrong = [claim.text for claim in found if not claim.holds]
    assert wrong == ["default / best model, grid, 128 probes: 1.200 <= 1.02"]


def test_a_run_without_the_probes_of_the_default_fails_the_claim(script):
    rows = [r for r in error_rows(grid=0.6, smooth=0.5, objects=0.7) if r["probes"] == 16]
    found = script("terms_lower_the_error").claims_from_probes(rows)
    wrong = [claim.text for claim in found if not claim.holds]
    assert wrong == ["128 probes were not measured"]


def test_nothing_is_claimed_where_a_model_is_missing(script):
    rows = [row for row in error_rows(grid=1, smooth=1, objects=1) if row["model"] != "D C"]
    assert script("terms_lower_the_error").claims_from_probes(rows) == []


@pytest.mark.parametrize(
    ("least", "rates", "holds", "text"),
    [
        ({40: 0.5}, (0.6, 0.5, 0.7), True, "40 applications (0.5000) for Adam's 408 (0.5000)"),
        ({40: 0.51, 64: 0.5}, (0.6, 0.5, 0.7), False, "64 applications (0.5000) for Adam's"),
        ({40: 0.51, 64: 0.505}, (0.6, 0.5, 0.7), False, "1.0 % worse than Adam after 64"),
        ({40: 0.1}, (0.5, 0.6, 0.7), False, "Adam's best rate 0.001 is at an end"),
        ({40: 0.1}, (0.7, 0.6, 0.5), False, "Adam's best rate 0.1 is at an end"),
    ],
)
def test_least_squares_is_judged_against_adams_best_rate(script, least, rates, holds, text):
    module = script("fit_needs_fewer_applications")

    def run(rate, applications, error):
        method = "least squares" if rate is None else "Adam"
        return module.Run("fan", method, rate, applications, {"value": error}, [], 0.0)

    runs = [run(r, 408, e) for r, e in zip((1e-3, 1e-2, 1e-1), rates, strict=True)]
    runs += [run(None, count, error) for count, error in least.items()]
    claim = module.claim("fan", runs)
    assert claim.holds is holds
    assert text in claim.text


def test_a_conclusion_without_claims_fails(script, capsys):
    module = script("measurement")
    assert module.conclude([]) == 1
    assert module.conclude([module.Claim("a", holds=True), module.Claim("b", holds=False)]) == 1
    assert module.conclude([module.Claim("a", holds=True)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["claim fails: nothing was measured", "claim fails: b", "claim holds: a"]
