"""check_same_config: a run is resumed with the configuration that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from partunroll.configuration.train_config import TrainConfig

_FREE_KEYS = {  # they change nothing of the weights, or only when to stop
    "num_workers",
    "cache",
    "tensorboard",
    "checkpointing",
    "checkpoints.every",
    "checkpoints.keep_last",
    "validation.patience",
}


def check_same_config(saved: TrainConfig, wanted: TrainConfig, output: Path) -> None:
    """Refuse to resume the run `output` with a configuration that would train something else.

    Raises
    ------
    InputError
        They differ in more than `num_workers` and other keys that change no weights.
    """
    old, new = (dict(_flat(config.model_dump(mode="json"))) for config in (saved, wanted))
    changed = [k for k in old | new if old.get(k) != new.get(k) and k not in _FREE_KEYS]
    if changed:
        before = ", ".join(f"{key} {old.get(key)}" for key in changed)
        after = ", ".join(f"{key} {new.get(key)}" for key in changed)
        msg = (
            f"config must be that of the run {output} to resume it, {before}, got {after}; "
            "leave the config out, or start a new run"
        )
        raise InputError(msg)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
