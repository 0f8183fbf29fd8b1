"""remedy: which keys of a configuration make a part of the memory smaller, and none that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from partunroll.network.prior import SMALLEST_AXIS

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.configuration.train_config import TrainConfig

Part = Literal["network", "activations", "data"]


def remedy(part: str, config: TrainConfig, device: str, processes: int = 1) -> str:
    """Return how to have less of the network, of the activations, or of the data, in words.

    Keys that are as low as they help are left out: a prior pads axes to 32 voxels, and takes a
    lone volume on the CPU twice.

    Parameters
    ----------
    part
        'network', 'activations' or 'data'.
    config
        Resolved configuration.
    device
        Where it computes.
    processes
        That share every batch.
    """
    switch, keys = _KNOBS[part]
    lower = keys(config, device, processes)
    lowered = f"lower {', '.join(lower)}" if lower else ""
    least = "take smaller volumes, or a machine with more memory"
    return ", or ".join(filter(None, [switch(config), lowered])) or least


def _no_average(config: TrainConfig) -> str:
    return "" if config.ema is None else "leave out ema"


def _checkpointing(config: TrainConfig) -> str:
    """Checkpointing keeps one iteration of several."""
    helps = _iterations(config) > 1 and not config.checkpointing
    return "set checkpointing: true" if helps else ""


def _no_cache(config: TrainConfig) -> str:
    return "set cache: false" if config.cache else ""


def _sizes(config: TrainConfig, *_: object) -> list[str]:
    prior = config.network.prior
    blocks = [f"network.prior.blocks {prior.blocks}"] if prior.blocks > 1 else []
    return [f"network.prior.widths {list(prior.widths)}", *blocks]


def _activations(config: TrainConfig, device: str, processes: int) -> list[str]:
    prior, shape = config.network.prior, config.patch_shape
    least = 2 if prior.dim == 3 and device == "cpu" else 1
    keys = []
    if config.batch // processes > least:
        keys.append(f"batch {config.batch} (with more accumulation)")
    if max((shape,) if isinstance(shape, int) else shape) > SMALLEST_AXIS:
        keys.append(f"patch_shape {shape}")
    keys += _sizes(config)
    if _iterations(config) > 1 and not config.checkpointing:
        keys.append(f"network.iterations {_iterations(config)}")
    return keys


def _workers(config: TrainConfig, *_: object) -> list[str]:
    return [f"num_workers {config.num_workers}"] if config.num_workers > 1 else []


def _iterations(config: TrainConfig) -> int:
    return int(getattr(config.network, "iterations", 1))


_KNOBS: dict[
    str, tuple[Callable[[TrainConfig], str], Callable[[TrainConfig, str, int], list[str]]]
] = {
    "network": (_no_average, _sizes),
    "activations": (_checkpointing, _activations),
    "data": (_no_cache, _workers),
}
