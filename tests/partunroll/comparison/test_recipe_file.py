"""A recipe is checked as a whole, and every problem of it is named."""

import numpy as np
import pytest
import yaml

from normalfit.errors import NormalfitError
from partunroll.comparison.folder_split import split_folder
from partunroll.comparison.recipe_file import load_recipe
from partunroll.comparison.row_training import departs, own_budget, training_of
from partunroll.errors import PartunrollError

BLUR = {"kind": "deconvolution", "volume_shape": [12, 12, 12], "gaussian_std_voxels": 1.0}


def document(**values):
    return {
        "data": {"made": {"test": 2}},
        "operators": {"blur": BLUR},
        "budget": {"steps": 7},
        "train": {"batch": 1, "network": {"iterations": 3, "prior": {"widths": [2, 2, 2, 2]}}},
        "rows": [
            {"name": "ours", "ours": True, "train": {"network": {"iterations": 2}}},
            {"name": "CG", "method": {"kind": "cg", "choose": {"ridge": [0.01, 0.1]}}},
            {"name": "post", "train": {"network": {"kind": "post_processing"}, "steps": 9}},
        ],
        **values,
    }


@pytest.fixture
def load(tmp_path):
    def loaded(given, **options):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(given), encoding="utf-8")
        return load_recipe(path, **options)

    return loaded


def test_trainings_are_the_recipes_with_the_rows_on_top(load):
    recipe = load(document())
    ours, _, post = recipe.rows
    config = training_of(recipe, ours, 3)
    assert (config.steps, config.seed, config.batch, config.network.iterations) == (7, 3, 1, 2)
    assert config.network.prior.widths == (2, 2, 2, 2)
    other = training_of(recipe, post, 0)
    assert (other.network.kind, other.network.prior.widths, other.steps) == (
        "post_processing",
        (2, 2, 2, 2),
        9,
    )
    assert (departs(recipe, ours), departs(recipe, post)) == (False, True)


def test_seeds_are_for_what_depends_on_them(load):
    recipe = load(document(seeds=[4, 5]))
    assert [recipe.seeds_of(row) for row in recipe.rows] == [(4, 5), (4,), (4, 5)]


def test_a_row_reconstructs_with_the_factors_that_its_network_was_trained_with(load):
    factors = {"default": {"terms": 1}, "two": {"terms": 2}}
    rows = [
        {"name": "ours", "train": {}, "factors": "two"},
        {"name": "stage 1", "uses": "ours", "reconstruct": {"stages": 1}},
        {"name": "others", "uses": "ours", "factors": "default"},
    ]
    recipe = load(document(rows=rows, factors=factors))
    assert [recipe.factors_of(row) for row in recipe.rows] == ["two", "two", "default"]


def test_steps_of_more_voxels_are_a_budget_of_their_own(load):
    rows = [
        {"name": "same", "train": {"patch_shape": [32, 32, 32], "flips": True}},
        {"name": "larger", "train": {"patch_shape": 64}},
        {"name": "more", "train": {"batch": 3}},
        {"name": "accumulated", "train": {"accumulation": 2}},
        {"name": "untrained", "method": {"kind": "cg"}},
    ]
    recipe = load(document(rows=rows))
    marked = [row.name for row in recipe.rows if departs(recipe, row)]
    assert marked == ["larger", "more", "accumulated"]
    assert own_budget(recipe, recipe.row("more")) == "7 steps of 3 patches of 32 voxels per axis"
    timed = load(document(rows=rows, budget={"seconds": 5}))
    assert not any(departs(timed, row) for row in timed.rows)
    assert own_budget(timed, timed.row("same")) == "5 s of steps of 1 patch of 32 × 32 × 32 voxels"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"extra": 1}, ["extra"]),
        ({"budget": {"steps": 1, "seconds": 2}}, ["one of steps and seconds"]),
        ({"data": {"made": {}, "store": "a.zarr"}}, ["one of made, volumes and store"]),
        (
            {"data": {"store": "a.zarr", "noise": {"photons": 1e4}, "window": "ramp"}},
            ["noise, window must be left out beside a store"],
        ),
        ({"operators": None}, ["operators must be given"]),
        ({"crop": 1.5}, ["crop"]),
        (
            {
                "train": {"steps": 9, "device": "cuda"},
                "rows": [{"name": "a", "train": {"seed": 3}}],
            },
            [
                "train: steps must be given as budget.steps, got 9",
                "train: device",
                "row a: train: seed",
            ],
        ),
        ({"factors": {"default": {"model": "nothing"}}}, ["factors.default", "nothing"]),
        ({"rows": [{"name": "a"}]}, ["rows.0", "a method, a training"]),
        (
            {
                "rows": [
                    {"name": "a b", "method": {"kind": "cg", "weight": 1}},
                    {"name": "a-b", "train": {"steps": 0, "nothing": 1}},
                    {"name": "c", "uses": "a b", "factors": "none"},
                    {"name": "d", "method": {"kind": "cg", "factors": "$NETWORK"}},
                ]
            },
            [
                "names of rows must differ",
                "uses must name a trained row, got 'a b'",
                "factors must be one of default, got 'none'",
                "row d: uses and $NETWORK",
            ],
        ),
        (
            {
                "rows": [
                    {"name": "a", "method": {"kind": "cg", "weight": 1}},
                    {"name": "b", "train": {"steps": 0, "nothing": 1}},
                    {"name": "c", "method": {"kind": "cg", "choose": {"ridge": [-1]}}},
                ]
            },
            ["row a", "weight", "row b", "steps", "nothing", "row c", "ridge"],
        ),
    ],
)
def test_every_problem_is_named(load, changed, said):
    with pytest.raises((PartunrollError, NormalfitError)) as refused:
        load(document(**changed))
    for words in said:
        assert words in str(refused.value)


def test_a_missing_recipe_is_called_one(tmp_path):
    with pytest.raises(NormalfitError, match="recipe must exist"):
        load_recipe(tmp_path / "none.yaml")


def test_a_folder_takes_the_place_of_made_objects(load, tmp_path):
    folder = tmp_path / "volumes"
    folder.mkdir()
    for name in "abcdefgh":
        np.save(folder / f"{name}.npy", np.zeros((2, 2, 2)))
    (folder / "README.md").write_text("not a volume")
    names = {k: [p[-5] for p in v] for k, v in split_folder(folder).items()}
    assert names == {"train": ["a", "c", "e"], "validation": ["g"], "test": ["b", "d", "f", "h"]}
    recipe = load(document(), data=folder)
    assert recipe.data.made is None
    assert [path[-5:] for path in recipe.data.volumes.test] == [f"{c}.npy" for c in "bdfh"]
    split = tmp_path / "split.yaml"
    split.write_text("{train: [h], validation: [a], test: [b, c]}", encoding="utf-8")
    recipe = load(document(), data=folder, split=split)
    assert [path[-5] for path in recipe.data.volumes.test] == ["b", "c"]
    split.write_text("{train: [h], test: [b, c]}", encoding="utf-8")
    with pytest.raises(PartunrollError, match="every purpose"):
        load(document(), data=folder, split=split)


def test_a_split_of_no_folder_is_refused(load, tmp_path):
    split = tmp_path / "split.yaml"
    split.write_text("{train: [h], validation: [a], test: [b, c]}", encoding="utf-8")
    with pytest.raises(PartunrollError, match="split must be given with a folder"):
        load(document(), split=split)


def test_operators_beside_a_store_are_refused_and_give_way_to_one_that_is_given(load, tmp_path):
    with pytest.raises(PartunrollError, match="and not for a store"):
        load(document(data={"store": "a.zarr"}))
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").touch()
    given = document(data={"made": {}, "noise": {"photons": 1e4}, "placement": {"mode": "fit"}})
    recipe = load(given, data=tmp_path / "b.zarr")
    assert recipe.data.store == str(tmp_path / "b.zarr")
    assert recipe.data.model_fields_set == {"store"}
    assert recipe.operators is None
    with pytest.raises(PartunrollError, match="nosie"):
        load(document(data={"made": {}, "nosie": {}}), data=tmp_path / "b.zarr")


@pytest.mark.parametrize("spelt", ["inner/../a.npy", "link.npy", "./a.npy"])
def test_a_volume_that_is_trained_on_is_not_tested_with(load, tmp_path, spelt):
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.zeros((2, 2, 2)))
    (tmp_path / "inner").mkdir()
    (tmp_path / "link.npy").symlink_to(tmp_path / "a.npy")
    volumes = {"train": ["a.npy"], "validation": ["b.npy"], "test": ["c.npy", spelt]}
    with pytest.raises(PartunrollError, match=r"one purpose, got .*a\.npy"):
        load(document(data={"volumes": volumes}))


def test_volumes_of_one_name_are_refused(tmp_path):
    for name in ("a.npy", "b.npy", "c.npy", "d.npy", "e.npy", "b.tif"):
        (tmp_path / name).touch()
    with pytest.raises(PartunrollError, match=r"got b\.npy and b\.tif"):
        split_folder(tmp_path)


def test_a_folder_of_too_few_volumes_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    with pytest.raises(PartunrollError, match="at least 4 volumes, got 1"):
        split_folder(tmp_path)
