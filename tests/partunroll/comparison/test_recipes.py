"""The recipes in benchmarks/tables are valid, and hold every row of the paper's tables."""

import re
from pathlib import Path

import pytest
import yaml

from partunroll.comparison.recipe_file import load_recipe
from partunroll.comparison.row_training import training_of

TABLES = Path(__file__).parents[3] / "benchmarks" / "tables"
CT, MRI = ("ct_small", "walnut"), ("mri_small", "calgary")


def trained(recipe, row):
    """What a row trains: kind of the network, dimension, whether on patches, and with what."""
    config = training_of(recipe, row, 0)
    shape = config.patch_shape
    longest = max(shape) if isinstance(shape, tuple) else shape
    return (config.network.kind, config.network.prior.dim, longest, config.normal)


@pytest.mark.parametrize("name", [*CT, *MRI])
def test_it_holds_every_row_of_the_papers_table(name):
    recipe = load_recipe(TABLES / f"{name}.yaml")
    first = "fdk" if name in CT else "zero-filled"
    methods = [row.method["kind"] for row in recipe.rows if row.method]
    assert methods == [first, "cg", "tv", "pnp-pgd", "pnp-pgd", "dpir", "inr"]
    pnp = [row for row in recipe.rows if row.method and row.method["kind"] == "pnp-pgd"]
    assert [trained(recipe, recipe.row(row.uses))[:2] for row in pnp] == [
        ("denoising", 2),
        ("denoising", 3),
    ]
    rows = [trained(recipe, row) for row in recipe.rows if row.train is not None and row.shown]
    kinds = [row[:2] for row in rows]
    assert {("post_processing", 2), ("post_processing", 3)} <= set(kinds)
    partitioned = trained(recipe, recipe.ours)
    assert partitioned[:2] == ("unrolled", 2 if name.endswith("_small") else 3)
    assert partitioned[3] == "factors"
    for dim in (2, 3):
        unrolled = {row[2:] for row in rows if row[:2] == ("unrolled", dim)}
        assert {(partitioned[2], "factors"), (partitioned[2], "restricted")} <= unrolled
        assert any(size > partitioned[2] and kind == "restricted" for size, kind in unrolled)


@pytest.mark.parametrize("name", [*CT, *MRI, "ablation"])
def test_every_trained_row_has_the_same_budget(name):
    recipe = load_recipe(TABLES / f"{name}.yaml")
    configs = [training_of(recipe, row, 0) for row in recipe.rows if row.train is not None]
    if name in ("ct_small", "mri_small", "ablation"):  # steps of their rows cost 0.02 to 7 s
        assert recipe.budget.seconds is not None
        assert not any("steps" in (row.train or {}) for row in recipe.rows)
    else:
        assert {c.steps for c in configs} == {recipe.budget.steps}


def test_the_ablation_crosses_partitioning_and_approximation():
    recipe = load_recipe(TABLES / "ablation.yaml")
    rows = {
        (*trained(recipe, row)[2:], row.factors)
        for row in recipe.rows
        if row.train is not None and "post-processing" not in row.name
    }
    assert rows == {
        (48, "restricted", "default"),
        (48, "factors", "default"),
        (24, "full", "default"),
        (24, "restricted", "default"),
        (24, "factors", "paper"),
        (24, "factors", "default"),
    }


def test_the_recipe_on_the_page_is_one(tmp_path):
    page = (TABLES.parents[1] / "docs" / "comparison.md").read_text(encoding="utf-8")
    recipe, row = (yaml.safe_load(text) for text in re.findall("```yaml\n(.*?)```", page, re.S))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, "rows": recipe["rows"] + row}), encoding="utf-8")
    loaded = load_recipe(path)
    assert (loaded.row("mine").document or {})["options"] == {"strength": 2}
    assert loaded.row("PnP").candidates == {"noise_level": [0.02, 0.06]}


def test_every_choice_of_the_papers_recipes_is_marked():
    for name in ("walnut", "calgary"):
        text = (TABLES / f"{name}.yaml").read_text(encoding="utf-8")
        own = ("seeds:", "crop:", "budget:", "batch:", "learning_rate:", "precision:", "choose:")
        for line in text.splitlines():
            if line.strip().startswith(own) or "iterations: 20000" in line:
                assert "# our choice" in line, line
