"""What a recipe says of data and crop reaches the stores, the jobs and the head of the table."""

from typing import Any

import pytest

from partunroll.comparison.comparison_data import prepare_data
from partunroll.comparison.recipe import Recipe
from partunroll.comparison.row_jobs import RowJobs
from partunroll.comparison.table_head import table_head
from partunroll.store.data_store import DataStore

RECIPE: dict[str, Any] = {
    "data": {"made": {"train": 1, "validation": 1, "test": 1}},
    "operators": {
        "views": {
            "kind": "parallel_beam",
            "volume_shape": [12, 12],
            "voxel_mm": 1.0,
            "num_views": 8,
            "num_columns": 18,
            "pixel_mm": 1.0,
            "angle_range_deg": 180.0,
        }
    },
    "factors": {"default": {"probes": 2, "terms": 1}},
    "crop": 8,
    "budget": {"steps": 1},
    "rows": [
        {"name": "chosen", "method": {"kind": "cg", "choose": {"ridge": [0.01, 0.1]}}},
        {"name": "fixed", "method": {"kind": "cg"}},
        {"name": "trained", "train": {}},
    ],
}


def jobs(folder, **values):
    recipe = Recipe.model_validate({**RECIPE, **values})
    return RowJobs(recipe, prepare_data(recipe, folder / "data", "cpu"), folder, "cpu")


@pytest.mark.parametrize(("initial", "used"), [("auto", "fbp"), ("least-squares", "least-squares")])
def test_initial_estimates_are_made_as_the_recipe_says(tmp_path, initial, used):
    parts = jobs(tmp_path, data={**RECIPE["data"], "initial": initial})
    for path in (parts.data.trained, parts.data.tested):
        assert {sample.initial_method for sample in DataStore.open(path).samples} == {used}
    head = table_head(parts.recipe, parts, None, [])
    assert (f"initial estimates by {initial}" in head["Data"]) == (initial != "auto")


def test_rows_that_choose_do_so_by_the_central_part(tmp_path):
    chosen, fixed, _ = RECIPE["rows"]
    folders = {}
    for crop in (8, 10):
        parts = jobs(tmp_path, crop=crop)
        job, other = (
            parts.reconstruction(parts.recipe.row(row["name"]), 0, None) for row in (chosen, fixed)
        )
        assert (job.crop, other.crop) == (crop, None)
        folders[crop] = (job.folder, other.folder)
    assert folders[8][0] != folders[10][0]
    assert folders[8][1] == folders[10][1]  # another crop reconstructs nothing


def test_the_head_says_how_long_the_fits_took(tmp_path):
    parts = jobs(tmp_path)
    fitted = parts.fit(parts.recipe.row("trained"))
    seconds = fitted.seconds["views"]
    head = table_head(parts.recipe, parts, None, [])
    assert head["Factors default"].endswith(f"fitted in views {seconds:.0f} s")


def test_a_training_that_is_done_again_gives_other_results(tmp_path):
    parts = jobs(tmp_path)
    row = parts.recipe.row("trained")
    parts.fit(row)
    training = parts.training(row, 0)
    weights = training.run / "best.pt"
    weights.parent.mkdir(parents=True)
    folders = []
    for content in (b"first", b"second", b"first"):
        weights.write_bytes(content)
        folders.append(parts.reconstruction(row, 0, training).folder)
    assert folders[0] == folders[2] != folders[1]
