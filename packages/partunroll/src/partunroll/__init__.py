"""Patch-partitioned unrolled networks for volumes that do not fit on a GPU.

The names below are imported when they are first used, so that `import partunroll` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partunroll.configuration.train_config import TrainConfig, load_config
    from partunroll.measurements.preparation import prepare
    from partunroll.measurements.simulation import simulate
    from partunroll.network.checkpoint import Checkpoint, load_checkpoint
    from partunroll.reconstruction.evaluation import evaluate
    from partunroll.reconstruction.reconstruction_file import open_reconstruction
    from partunroll.reconstruction.reconstruction_result import Reconstruction
    from partunroll.reconstruction.two_stages import reconstruct
    from partunroll.store.data_store import DataStore
    from partunroll.training.patch_training import train
    from partunroll.volumes.image_metrics import Comparison

_MODULES = {
    "Checkpoint": "network.checkpoint",
    "Comparison": "volumes.image_metrics",
    "DataStore": "store.data_store",
    "Reconstruction": "reconstruction.reconstruction_result",
    "TrainConfig": "configuration.train_config",
    "evaluate": "reconstruction.evaluation",
    "load_checkpoint": "network.checkpoint",
    "load_config": "configuration.train_config",
    "open_reconstruction": "reconstruction.reconstruction_file",
    "prepare": "measurements.preparation",
    "reconstruct": "reconstruction.two_stages",
    "simulate": "measurements.simulation",
    "train": "training.patch_training",
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
