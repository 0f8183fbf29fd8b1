"""Patch-partitioned unrolled networks for volumes that do not fit on a GPU.

The names below are imported when they are first used, so that `import partunroll` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partunroll.checkpoint import Checkpoint, load_checkpoint
    from partunroll.config import TrainConfig, load_config
    from partunroll.data_store import DataStore
    from partunroll.evaluation import evaluate
    from partunroll.image_metrics import Comparison
    from partunroll.preparation import prepare
    from partunroll.reconstruction import Reconstruction, reconstruct
    from partunroll.reconstruction_file import open_reconstruction
    from partunroll.simulation import simulate
    from partunroll.training import train

_MODULES = {
    "Checkpoint": "checkpoint",
    "Comparison": "image_metrics",
    "DataStore": "data_store",
    "Reconstruction": "reconstruction",
    "TrainConfig": "config",
    "evaluate": "evaluation",
    "load_checkpoint": "checkpoint",
    "load_config": "config",
    "open_reconstruction": "reconstruction_file",
    "prepare": "preparation",
    "reconstruct": "reconstruction",
    "simulate": "simulation",
    "train": "training",
}

__all__ = [
    "Checkpoint",
    "Comparison",
    "DataStore",
    "Reconstruction",
    "TrainConfig",
    "evaluate",
    "load_checkpoint",
    "load_config",
    "open_reconstruction",
    "prepare",
    "reconstruct",
    "simulate",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
