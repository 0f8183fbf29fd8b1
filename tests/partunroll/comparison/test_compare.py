"""A tiny recipe from end to end: rows in processes of their own, one of which is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml

from partunroll.comparison.compare import compare
from partunroll.comparison.recipe_file import load_recipe
from partunroll.errors import PartunrollError

POPEN = subprocess.Popen

RECIPE: dict[str, Any] = {
    "title": "Tiny",
    "data": {
        "made": {"train": 2, "validation": 1, "test": 2, "smallest": 0.2},
        "noise": {"relative": 0.05},
    },
    "operators": {
        "blur": {
            "kind": "deconvolution",
            "volume_shape": [16, 16, 16],
            "gaussian_std_voxels": 1.0,
            "boundary": "periodic",
        }
    },
    "factors": {"default": {"probes": 2, "terms": 1}},
    "crop": 14,
    "budget": {"steps": 3},
    "train": {
        "network": {"prior": {"widths": [2, 2, 2, 2]}},
        "patch_shape": 8,
        "batch": 1,
    },
    "rows": [
        {"name": "dies", "method": {"kind": "function", "function": "own_method:die"}},
        {"name": "ours", "ours": True, "train": {"network": {"kind": "unrolled", "iterations": 2}}},
        {
            "name": "other",
            "train": {"network": {"kind": "post_processing"}},
            "note": "not run here",
        },
    ],
}
OWN = """
import os, signal

def die(A, y):
    os.kill(os.getpid(), signal.SIGKILL)

def backproject(A, y):
    return A.adjoint(y)
"""


def write_recipe(folder, **values):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **values}), encoding="utf-8")
    (folder / "own_method.py").write_text(OWN, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison of two rows of three: folder, recipe, table, and what was said."""
    folder = tmp_path_factory.mktemp("compared")
    recipe = load_recipe(write_recipe(folder))
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        table = compare(
            recipe, folder / "out", rows=["dies", "ours"], device="cpu", say=said.append
        )
    return folder / "out", recipe, table, said


def test_the_table_holds_every_row(compared):
    folder, _, table, said = compared
    dies, ours, other = table.rows
    assert dies.has_failed
    assert "SIGKILL" in dies.reasons[0]
    assert other.reasons == ("not run",)
    assert not other.has_failed
    assert len(ours.by_volume("blur", "psnr")) == 2
    assert ours.training("steps") == 3
    assert ours.training("peak_bytes") > 1e8
    assert ours.reconstruction_seconds("blur") > 0
    page = (folder / "table.md").read_text(encoding="utf-8")
    assert "3 steps of 1 patch of 8 voxels per axis for every trained row" in page
    assert "failed: killed by the system" in page
    assert "the central 14 × 14 × 14 voxels" in page
    assert page.count("- Machine: ") == 1
    assert sum("finished" in line for line in said) == 2
    with (folder / "table.csv").open(encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert [record["row"] for record in records] == ["dies", "ours", "other"]
    assert float(records[1]["psnr"]) == pytest.approx(ours.mean("blur", "psnr"))
    document = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    assert document["table"][0]["psnr"] is None
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def no_process(command, **_):
    if "row_process" in " ".join(map(str, command)):
        raise AssertionError("no row is to be run")
    return POPEN(command, **_)


def test_what_is_finished_is_found_again(compared, monkeypatch):
    folder, recipe, table, _ = compared
    monkeypatch.chdir(folder.parent)  # where the function of a row is
    monkeypatch.setattr("partunroll.comparison.job_runner.subprocess.Popen", no_process)
    again = compare(recipe, folder, rows=["ours"], device="cpu")
    assert again.rows[1].as_json() == table.rows[1].as_json()
    assert again.rows[0].has_failed  # in the earlier call, and is not run now
    assert again.rows[0].reasons == table.rows[0].reasons
    smaller = recipe.model_copy(update={"crop": 12})  # other figures of the same volumes
    other = compare(smaller, folder, rows=["ours"], device="cpu")
    assert other.rows[1].mean("blur", "psnr") != table.rows[1].mean("blur", "psnr")
    longer = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"steps": 4})})
    with pytest.raises(AssertionError, match="no row is to be run"):
        compare(longer, folder, rows=["ours"], device="cpu")


def test_other_folders_and_unknown_rows_are_refused(compared, tmp_path):
    _, recipe, _, _ = compared
    (tmp_path / "something").write_text("else")
    with pytest.raises(PartunrollError, match="new or a comparison"):
        compare(recipe, tmp_path, device="cpu")
    with pytest.raises(PartunrollError, match="rows must be among dies, ours, other, got his"):
        compare(recipe, tmp_path / "new", rows=["his"], device="cpu")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_killed_comparison_goes_on_to_the_same_figures(tmp_path):
    rows = [
        {"name": "back", "method": {"kind": "function", "function": "own_method:backproject"}},
        RECIPE["rows"][1],
    ]
    train = {**RECIPE["train"], "checkpoints": {"every": 5}}
    path = write_recipe(tmp_path, rows=rows, budget={"steps": 300}, train=train)
    finished = run(path, tmp_path / "whole")
    assert finished.wait(600) == 0
    killed = run(path, tmp_path / "killed")
    wait_for(lambda: list((tmp_path / "killed").glob("rows/ours/seed-0/training-*/run/last.pt")))
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(60)
    training = next((tmp_path / "killed").glob("rows/ours/seed-0/training-*"))
    time.sleep(10)  # the child notices that it is alone, saves, and ends
    assert not (training / "finished.json").exists()
    assert run(path, tmp_path / "killed").wait(600) == 0
    figures = [
        [
            line.rpartition(",")[0]
            for line in (tmp_path / name / "volumes.csv").read_text().splitlines()
        ]
        for name in ("whole", "killed")
    ]
    assert figures[0] == figures[1]


def run(recipe, output):
    command = [sys.executable, "-m", "partunroll", "compare", "--recipe", recipe, "-o", output]
    return subprocess.Popen([*command, "--device", "cpu"], cwd=recipe.parent)  # noqa: S603 - ours


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
