"""What fails a row fails no other, and a table of odd figures can be read by any JSON reader."""

import json

import pytest

from partunroll.comparison import compare as compare_module
from partunroll.comparison import row_jobs
from partunroll.comparison.comparison_factors import fit_factors
from partunroll.comparison.comparison_table import ComparisonTable
from partunroll.comparison.job_runner import Outcome
from partunroll.comparison.recipe import Recipe
from partunroll.comparison.row_figures import VolumeFigures
from partunroll.comparison.row_results import RowResult, SeedResult
from partunroll.comparison.table_head import _made_with
from partunroll.errors import InputError

BLUR = {"kind": "deconvolution", "volume_shape": [12, 12], "gaussian_std_voxels": 1.0}
TRAIN = {"network": {"kind": "unrolled", "iterations": 1}}


def finished(psnr, code="abc"):
    volumes = {"column": {"a": VolumeFigures(psnr, None, None), "b": VolumeFigures(20, None, None)}}
    record = {
        "seconds": {"a": 1.0, "b": 1.0},
        "peak_bytes": 1,
        "made_with": {"code": code, "machine": "CPU"},
    }
    return (SeedResult(0, "", volumes, None, record),)


def test_factors_that_cannot_be_fitted_fail_their_rows_alone(tmp_path, monkeypatch):
    run: list[str] = []

    class Runner:
        def __init__(self, *_):
            pass

        def run(self, jobs):
            run.extend(job.row for job in jobs)
            return [Outcome(None, "not in this test") for _ in jobs]

    def fit(given, operators, *rest):
        if given.terms == 2:
            raise InputError("terms must be one here, got 2")
        return fit_factors(given, operators, *rest)

    monkeypatch.setattr(compare_module, "JobRunner", Runner)
    monkeypatch.setattr(row_jobs, "fit_factors", fit)
    document = {
        "data": {"made": {"train": 1, "validation": 1, "test": 1}},
        "operators": {"blur": BLUR},
        "factors": {"wrong": {"probes": 2, "terms": 2}, "default": {"probes": 2, "terms": 1}},
        "budget": {"steps": 1},
        "rows": [
            {"name": "unfitted", "train": TRAIN, "factors": "wrong"},
            {"name": "uses it", "uses": "unfitted", "reconstruct": {"stages": 1}},
            {"name": "fitted", "train": TRAIN},
            {"name": "CG", "method": {"kind": "cg"}},
        ],
    }
    recipe = Recipe.model_validate(document)
    table = compare_module.compare(recipe, tmp_path / "out", device="cpu")
    reasons = {row.name: row.reasons[0] for row in table.rows}
    assert reasons["unfitted"].startswith("factors wrong: terms must be one")
    assert reasons["uses it"] == reasons["unfitted"]
    assert reasons["fitted"] == "training: not in this test"
    assert run == ["fitted", "CG"]


def test_infinite_figures_are_null_in_json(tmp_path):
    row = RowResult("exact", False, False, None, finished(float("inf")))
    compare_module._write(ComparisonTable("t", {}, ("column",), (row,)), tmp_path)

    def refuse(constant):
        pytest.fail(f"no JSON: {constant}")

    text = (tmp_path / "table.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["table"][0]["psnr"] is None


def test_the_head_says_which_code_made_a_row_of_an_earlier_call():
    rows = [RowResult(name, False, False, None, finished(1.0)) for name in ("a", "b")]
    assert _made_with(rows, "Commit", "code") == {"Commit": "abc"}
    rows.append(RowResult("c", False, False, None, finished(1.0, "def +")))
    assert _made_with(rows, "Commit", "code") == {"Commit": "abc (a, b); def + (c)"}
