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


def departs(row: RowSection) -> bool:
    """Return whether a row has a budget of its own."""
    return row.train is not None and "steps" in row.train


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
