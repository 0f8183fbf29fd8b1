"""load_recipe: a recipe out of its YAML file, every problem of which is listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from normalfit.errors import NormalfitError
from normalfit.fitting import chosen_model
from normalfit.specs.yaml_mapping import read_yaml_mapping
from partunroll.baselines.method import parse_method
from partunroll.comparison.folder_split import split_folder
from partunroll.comparison.recipe import Recipe
from partunroll.comparison.recipe_data import DataSection
from partunroll.comparison.recipe_row import with_network
from partunroll.comparison.row_training import training_of
from partunroll.configuration.train_config import describe_problems
from partunroll.errors import InputError, PartunrollError

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_recipe(path: Path, data: Path | None = None, split: Path | None = None) -> Recipe:
    """Return the recipe in a YAML file; files that it names are made relative to no folder.

    Parameters
    ----------
    path
        The file.
    data
        A folder of volumes, or a data store, that takes the place of the recipe's objects.
    split
        What each volume of the folder is for, as for `split_folder`.

    Raises
    ------
    InputError
        The file is no YAML mapping (normalfit's), or keys do not meet their requirements.
    """
    if split is not None and data is None:
        msg = f"split must be given with a folder of volumes as data, got {split} alone"
        raise InputError(msg)
    document = read_yaml_mapping(path, "recipe", "see docs/comparison.md")
    try:
        recipe = Recipe.model_validate(_filled(document, path.parent, data, split))
    except ValidationError as error:
        msg = f"recipe {path} must be valid, got {_without_prefixes(describe_problems(error))}"
        raise InputError(msg) from error
    problems = list(_problems(recipe))
    if problems:
        msg = f"recipe {path} must be valid, got {'; '.join(problems)}"
        raise InputError(msg)
    return recipe


def _filled(
    document: dict[str, Any], folder: Path, data: Path | None, split: Path | None
) -> dict[str, Any]:
    """Return the document with its files relative to no folder, and with other data if given."""
    document, section = dict(document), document.get("data")
    if isinstance(section, dict):
        section = _rooted(section, folder)
        document["data"] = section if data is None else _replaced(section, data, split)
        if data is not None and "store" in document["data"]:
            document.pop("operators", None)  # a store has its own
    operators = document.get("operators")
    if isinstance(operators, dict):
        document["operators"] = {
            name: str((folder / value).absolute()) if isinstance(value, str) else value
            for name, value in operators.items()
        }
    return document


def _problems(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with the parts that other modules check."""
    for name, fit in recipe.factors.items():
        options = {k: v for k, v in fit.arguments().items() if k not in ("probes", "batch", "seed")}
        try:
            chosen_model(options.pop("model", None), options.pop("method"), **options)
        except NormalfitError as error:
            yield f"factors.{name}: {error}"
    for row in recipe.rows:
        try:
            if row.train is not None:
                training_of(recipe, row, recipe.seeds[0])
            for document in row.combinations if row.method is not None else ():
                parse_method(with_network(document, "best.pt"))
        except (PartunrollError, NormalfitError) as error:
            yield str(error) if str(error).startswith("row ") else f"row {row.name}: {error}"


def _rooted(section: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the data section with its files relative to no folder."""
    section = dict(section)
    if isinstance(section.get("store"), str):
        section["store"] = str((folder / section["store"]).absolute())
    if isinstance(section.get("volumes"), dict):
        section["volumes"] = {
            purpose: [str((folder / name).absolute()) for name in names]
            if isinstance(names, list) and all(isinstance(name, str) for name in names)
            else names
            for purpose, names in section["volumes"].items()
        }
    return section


def _replaced(section: dict[str, Any], data: Path, split: Path | None) -> dict[str, Any]:
    """Return the data section with other objects."""
    kept = {k: v for k, v in section.items() if k not in ("made", "volumes", "store")}
    if (data / "zarr.json").is_file():
        if split is not None:
            msg = f"split must be left out for a data store, which has its own, got {split}"
            raise InputError(msg)
        DataSection.model_validate({**kept, "made": {}})  # what is replaced is checked, too
        return {"store": str(data.absolute())}  # its samples have their noise
    return {**kept, "volumes": split_folder(data, split)}


def _without_prefixes(problems: str) -> str:
    return problems.replace("Value error, ", "")
