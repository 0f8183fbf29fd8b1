"""Ranks: the processes that train or reconstruct together, as torchrun starts them."""

from __future__ import annotations

import atexit
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from normalfit.devices import resolve_device
from normalfit.errors import NormalfitError
from partunroll.errors import InputError, LostRankError, PartunrollError, RankError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

T = TypeVar("T")

# The first rank validates while the others wait, which may take hours; torchrun ends the others
# when one dies.  # our choice
_PATIENCE = timedelta(days=7)
_COLLECTIVES = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
_CPU = torch.device("cpu")
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun sets them all


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is; by default the only one.

    What is said to the others goes through gloo on the CPU; gradients go through DDP, on GPUs by
    nccl. With one process nothing of torch.distributed is used.

    Parameters
    ----------
    rank, size
        Its number among all processes, and how many they are.
    local_rank, local_size
        The same on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return the device of this process: every process of a machine has a GPU of its own.

        Raises
        ------
        BackendError
            There are fewer GPUs than processes; normalfit's.
        """
        device = resolve_device(name)
        if self.size == 1 or device.type != "cuda":
            return device
        device = resolve_device(f"cuda:{self.local_rank}")
        torch.cuda.set_device(device)
        return device

    def share(self, batch: int) -> slice:
        """Return the part of a batch that is this process's.

        Raises
        ------
        InputError
            The batch cannot be divided evenly.
        """
        if batch % self.size:
            msg = (
                f"batch must be divisible by the number of processes, {self.size}, got {batch}; "
                "it is the batch of all processes together"
            )
            raise InputError(msg)
        own = batch // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return the network such that its gradients are means over all processes."""
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def mean(self, value: float) -> float:
        """Return the mean over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        with _together():
            dist.all_reduce(total)
        return total.item() / self.size

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process: all of them must go the same way."""
        return flag if self.size == 1 else self.mean(float(flag)) > 0

    def takes(self, item: int) -> bool:
        """Return whether an item of shared work is this process's: every `size`-th is."""
        return item % self.size == self.rank

    def add_up(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes, in its memory; through the host."""
        if self.size == 1:
            return x
        on_host = x.detach().cpu().contiguous()
        with _together():
            dist.all_reduce(torch.view_as_real(on_host) if on_host.is_complex() else on_host)
        return x.copy_(on_host)

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.mean(0.0)

    def joined(self, values: Sequence[T]) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return list(values)
        gathered: list[list[T]] = [[] for _ in range(self.size)]
        with _together():
            dist.all_gather_object(gathered, list(values))
        return [value for part in gathered for value in part]

    def from_first(self, compute: Callable[[], T]) -> T:
        """Return what the first process computes, in all; the others wait for it.

        Raises
        ------
        RankError
            In the others, where it fails with an error that a user can mend; in all a
            LostRankError, where one of them is gone.
        """
        if self.size == 1:
            return compute()
        outcome: list[Any] = [None, None]  # why it failed, or the result
        failure: Exception | None = None
        if self.is_first:
            try:
                outcome[1] = compute()
            except (NormalfitError, PartunrollError, OSError) as error:
                failure, outcome[0] = error, str(error)
        with _together():
            dist.broadcast_object_list(outcome, src=0, device=_CPU)
        if failure is not None:
            raise failure
        if outcome[0] is not None:
            msg = f"the first process must succeed, got {outcome[0]}"
            raise RankError(msg)
        return outcome[1]


@contextmanager
def _together() -> Iterator[None]:
    """Turn what gloo says where another process is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["nothing"])[0]
        msg = f"all processes must stay, got {reason}; see what ended the other, and start again"
        raise LostRankError(msg) from error


ALONE = Ranks()


@contextmanager
def lost_ranks_named(ranks: Ranks) -> Iterator[None]:
    """Raise LostRankError where a collective fails, as it does when another process has died.

    Raises
    ------
    LostRankError
        It has failed; what was computed together may be half done.
    """
    try:
        yield
    except LostRankError as error:
        msg = str(error).replace("start again", "go on with --resume")
        raise LostRankError(msg) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        collective = isinstance(error, dist.DistError) or any(s in reason for s in _COLLECTIVES)
        if ranks.size == 1 or not collective:
            raise
        msg = (
            f"all processes must stay, got {reason[:200]}; see what ended the other, "
            "and go on with --resume"
        )
        raise LostRankError(msg) from error


def present_ranks() -> Ranks:
    """Return what torchrun says about this process; without torchrun it is the only one."""
    if not all(os.environ.get(name) for name in _NEEDED):
        return Ranks()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    return Ranks(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)))


def joined_ranks() -> Ranks:
    """Return the ranks; if they are several, they have joined in a process group.

    The group lives as long as the process: torchrun's store does not allow to join again. One
    that exists already is used as it is.
    """
    ranks = present_ranks()
    if dist.is_available() and dist.is_initialized():
        return replace(ranks, rank=dist.get_rank(), size=dist.get_world_size())
    if ranks.size > 1:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return ranks
