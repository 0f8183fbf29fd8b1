"""check_sizes: refuse networks and batches that cannot fit, before any of them is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from normalfit.devices import free_bytes
from partunroll.errors import InputError, RankError
from partunroll.memory_size import shown
from partunroll.network.networks import build_network
from partunroll.training.memory_knobs import remedy

if TYPE_CHECKING:
    from partunroll.configuration.train_config import TrainConfig
    from partunroll.ranks import Ranks

_COPIES = 4  # of the weights: themselves, gradients, Adam's two moments
_ARRAYS = 4  # of a batch: initial estimate, truth, residual, initial gradient


def check_sizes(config: TrainConfig, device: torch.device, ranks: Ranks) -> None:
    """Refuse what is too large for certain; what the rest takes is measured later.

    Parameters
    ----------
    config
        Resolved configuration.
    device
        Where the network is trained; batches are made there, too.
    ranks
        Processes that share every batch.

    Raises
    ------
    InputError, RankError
        The free memory does not suffice in some process; in the first process, and in others.
    """
    problems = [text for text in ranks.joined([_problem(config, device, ranks)]) if text]
    if problems:
        raise (InputError if ranks.is_first else RankError)(problems[0])


def _problem(config: TrainConfig, device: torch.device, ranks: Ranks) -> str | None:
    free = free_bytes(device)
    with torch.device("meta"):  # shapes without memory
        network = build_network(config.network)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    sizes = {
        "network": (_COPIES + (config.ema is not None)) * weights,
        "batch": _batch_bytes(config) // ranks.size,
    }
    for what, needed in sizes.items():
        if free is not None and needed > free:
            lower = remedy("network", config, device.type) if what == "network" else "lower batch"
            return (
                f"memory must suffice for the {what}, which takes {shown(needed)}, got "
                f"{shown(free)} on {device}; {lower}"
            )
    return None


def _batch_bytes(config: TrainConfig) -> int:
    shape = config.patch_shape
    voxels = shape if isinstance(shape, int) else math.prod(shape)
    itemsize = 8 if config.network.prior.channels == 2 else 4
    return _ARRAYS * config.batch * voxels * itemsize
