"""step_memory: what one forward and backward pass holds at its peak, as it is measured."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from partunroll.memory_size import resident_peak

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one pass, beyond what was there before it.

    Parameters
    ----------
    saved
        Of what the forward pass keeps for the backward pass.
    peak
        Of all tensors that are alive together at the peak, gradients of weights and `saved`
        among them; on a GPU, what its allocator had given out.
    resident
        By how much the process grew at its peak, with what foreign libraries took; 0 on a GPU,
        and where the system does not tell.
    """

    saved: int
    peak: int
    resident: int = 0


class MemoryLimitError(Exception):
    """A pass has needed more than its limit, and was ended there.

    Parameters
    ----------
    num_bytes
        What it had needed until then.
    """

    def __init__(self, num_bytes: int) -> None:
        super().__init__(f"memory of a pass must stay below the limit, got {num_bytes} bytes")
        self.num_bytes = num_bytes


def step_memory(
    step: Callable[[], None], network: torch.nn.Module, limit: int | None = None
) -> StepMemory:
    """Run a forward and backward pass and return the memory that it took.

    Tensors are counted exactly. Arrays inside of foreign libraries (FFTs on the CPU, projectors,
    scratch space of convolutions) are no tensors; they show in `resident` alone, as far as the
    process had no memory left over from before.

    Parameters
    ----------
    step
        The pass.
    network
        Whose weights are no part of it.
    limit
        Bytes after which the pass is ended, so that the system does not end the process.

    Raises
    ------
    MemoryLimitError
        The limit is reached, or a GPU has no more memory.
    """
    weights = {_key(tensor) for tensor in network.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if _key(tensor) not in weights:
            saved[_key(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    live = _LiveBytes(limit)
    device = next(network.parameters()).device
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        with (
            resident_peak() as grown,
            live,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            step()
    except torch.OutOfMemoryError as error:
        raise MemoryLimitError(live.peak) from error
    allocated = torch.cuda.max_memory_allocated(device) - before if on_gpu else 0
    resident = 0 if on_gpu else grown[0]
    return StepMemory(sum(saved.values()), max(live.peak, allocated), resident)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make, until they are freed.

    Parameters
    ----------
    limit
        Bytes at which it raises; None for no limit.
    """

    def __init__(self, limit: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._limit = limit
        self._now = 0
        self._live: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's operator
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        given = {_key(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and _key(tensor) not in given:  # else it is a view
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()  # it has no public name
        if key in self._live:
            return

        def freed(_: object) -> None:
            self._live.pop(key, None)
            self._now -= num_bytes

        self._live[key] = weakref.ref(storage, freed)
        self._now += num_bytes
        self.peak = max(self.peak, self._now)
        if self._limit is not None and self._now > self._limit:
            raise MemoryLimitError(self._now)


def _key(tensor: torch.Tensor) -> int:
    """Return what tells a storage from the others that are alive."""
    return tensor.untyped_storage()._cdata  # it has no public name
