"""own_random_numbers: torch's random numbers as a run left them, and the caller's untouched."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RandomState = dict[str, torch.Tensor]


@contextmanager
def own_random_numbers(
    seed: int, device: torch.device, saved: Mapping[str, torch.Tensor] | None
) -> Iterator[None]:
    """Draw from the seed, or go on from `random_state`, until the block ends.

    The networks here draw nothing while they are trained, and batches have generators of their
    own; this is for layers that do, as dropout.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if saved:
            torch.set_rng_state(saved["cpu"])
        if saved and device.type == "cuda" and "cuda" in saved:
            torch.cuda.set_rng_state(saved["cuda"], device)
        yield


def random_state(device: torch.device) -> RandomState:
    """Return the state of the generators that work on `device` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state
