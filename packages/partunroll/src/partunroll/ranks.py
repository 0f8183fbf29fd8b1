"""Ranks: the processes that share the patches of a reconstruction, under torchrun or alone."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterator

_Value = TypeVar("_Value")
TIMEOUT = dt.timedelta(days=7)  # others wait while rank 0 steps: hours, for large volumes


@dataclass(frozen=True)
class Ranks:
    """A process among those that work together.

    Parameters
    ----------
    rank, size
        Its number, from 0 on, and the number of all.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all have computed."""
        return self.rank == 0

    def takes(self, item: int) -> bool:
        """Return whether an item of shared work is this process's: every `size`-th is."""
        return item % self.size == self.rank

    def add_up(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes, in its memory; through the host."""
        if self.size == 1:
            return x
        on_host = x.detach().cpu().contiguous()
        dist.all_reduce(torch.view_as_real(on_host) if on_host.is_complex() else on_host)
        return x.copy_(on_host)

    def of_first(self, value: _Value) -> _Value:
        """Return what the first process gives; all wait for it."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def ranks_of_torchrun() -> Iterator[Ranks]:
    """Yield this process's rank: that of torchrun's environment, or alone without one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=TIMEOUT)  # NCCL knows no complex numbers
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def is_first_process() -> bool:
    """Return whether this process is the one that reports: the only one, or torchrun's first."""
    return os.environ.get("RANK", "0") == "0"


def device_of_rank(name: str) -> str:
    """Return the device of this process: 'auto' and 'cuda' are a GPU of its own under torchrun."""
    local = os.environ.get("LOCAL_RANK")
    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    if local is None or not on_gpu:
        return name
    return f"cuda:{int(local) % max(1, torch.cuda.device_count())}"
