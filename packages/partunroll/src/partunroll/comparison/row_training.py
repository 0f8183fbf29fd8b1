"""training_of: the training configuration of a row: the recipe's, the row's, seed and budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from partunroll.configuration.train_config import TrainConfig, describe_problems
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partunroll.comparison.recipe import Recipe
    from partunroll.comparison.recipe_row import RowSection

CHECKPOINT_STEPS = 100  # at most so many are lost where a process is killed  # our choice


def training_of(recipe: Recipe, row: RowSection, seed: int, device: str = "auto") -> TrainConfig:
    """Return the configuration that a row is trained with.

    The row's keys stand over the recipe's, section by section; a network of another kind than
    the recipe's takes the prior only. Steps are those of the budget unless the row has its own.
    With a budget of seconds they are a length that is found when the row is trained.

    Raises
    ------
    InputError
        The configuration is not valid; every problem is named.
    """
    checkpoints = {"checkpoints": {"every": CHECKPOINT_STEPS}}
    document = _merged(_merged(checkpoints, _common(recipe, row)), row.train or {})
    if recipe.budget.steps is not None:
        document.setdefault("steps", recipe.budget.steps)
    try:
        return TrainConfig.model_validate({**document, "seed": seed, "device": device})
    except ValidationError as error:
        msg = f"row {row.name}: train: {describe_problems(error)}"
        raise InputError(msg) from error


def departs(recipe: Recipe, row: RowSection) -> bool:
    """Return whether a row has a budget of its own: other steps, or steps of other voxels."""
    if row.train is None:
        return False
    if "steps" in row.train:
        return True
    return recipe.budget.steps is not None and _voxels(recipe.train | row.train) != _voxels(
        recipe.train
    )


def own_budget(recipe: Recipe, row: RowSection) -> str:
    """Return what a trained row gets, in words."""
    config = training_of(recipe, row, 0)
    in_steps = recipe.budget.steps is not None or "steps" in (row.train or {})
    length = f"{config.steps:,} steps" if in_steps else str(recipe.budget)
    return f"{length} of {patches_of_step(config)}"


def patches_of_step(config: TrainConfig) -> str:
    """Return what a step of a training sees, in words."""
    count, patch = config.batch * config.accumulation, config.patch_shape
    sides = f"{patch} voxels per axis"
    if not isinstance(patch, int):
        sides = f"{' × '.join(map(str, patch))} voxels"
    return f"{count} patch{'es' if count > 1 else ''} of {sides}"


def _voxels(train: Mapping[str, Any]) -> tuple[object, int]:
    """Return the patches of a step and their number, as a configuration's keys say them."""
    defaults = TrainConfig.model_fields
    patch, batch, accumulation = (
        train.get(name, defaults[name].default) for name in ("patch_shape", "batch", "accumulation")
    )
    if isinstance(patch, list | tuple) and len(set(patch)) == 1:
        patch = patch[0]  # a cube
    return patch, batch * accumulation


def _common(recipe: Recipe, row: RowSection) -> dict[str, Any]:
    common = dict(recipe.train)
    own, shared = (row.train or {}).get("network"), common.get("network")
    if isinstance(own, dict) and isinstance(shared, dict):
        kinds = [network.get("kind", "unrolled") for network in (own, shared)]
        if kinds[0] != kinds[1]:
            common["network"] = {k: v for k, v in shared.items() if k == "prior"}
    return common


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, dict) and isinstance(value, dict)
        merged[key] = _merged(under, value) if both else value  # type: ignore[arg-type] # both are
    return merged
