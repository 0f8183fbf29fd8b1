"""volume_arrays: every array of a volume's size that this process holds, by name."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = ("normalfit", "partunroll")


@dataclass(frozen=True)
class VolumeArray:
    """An array whose last axes are those of the volume."""

    name: str
    shape: tuple[int, ...]
    nbytes: int


def volume_arrays(volume_shape: tuple[int, ...], device: str = "cpu") -> tuple[VolumeArray, ...]:
    """Return the arrays that end in `volume_shape` and are held now; what is shared counts once.

    Looked at are the variables of all functions that are being called, everything that objects
    of normalfit and partunroll hold, and every tensor. Pages of a tensor that were never written
    are not in memory yet, though they will be: they are written here. Only the memory of `device`,
    "cpu" or "cuda", counts.
    """
    found: dict[int, VolumeArray] = {}
    for name, value in [*_variables(), *_held()]:
        array = _storage(value, device)
        if array is None or tuple(value.shape[-len(volume_shape) :]) != volume_shape:
            continue
        pointer, nbytes = array
        if pointer not in found:
            if isinstance(value, torch.Tensor) and device == "cpu":
                pages = value.detach().numpy()  # so that autograd does not see it
                np.add(pages, 0, out=pages)
            found[pointer] = VolumeArray(name, tuple(value.shape), nbytes)
    return tuple(found.values())


def _storage(value: object, device: str) -> tuple[int, int] | None:
    """Return address and bytes of the memory behind an array; None if there is none there."""
    if isinstance(value, torch.Tensor):
        if value.device.type != device or value.is_sparse or isinstance(value, FakeTensor):
            return None  # a fake one, as torch.export leaves them behind, has no memory
        return value.untyped_storage().data_ptr(), value.untyped_storage().nbytes()
    if isinstance(value, np.ndarray) and device == "cpu":
        whole = value
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        return whole.ctypes.data, whole.nbytes
    return None


def _variables() -> Iterator[tuple[str, object]]:
    frame = sys._getframe(1)
    while frame is not None:
        for name, value in list(frame.f_locals.items()):
            yield f"{name} of {frame.f_code.co_name}", value
        frame = frame.f_back


def _held() -> Iterator[tuple[str, object]]:
    tensors = []
    for held in gc.get_objects():
        kind = type(held)
        if issubclass(kind, torch.Tensor):
            tensors.append(held)
        elif str(kind.__module__).partition(".")[0] in _OURS:
            yield from _parts(kind.__name__, getattr(held, "__dict__", {}))
    yield from (("a tensor", tensor) for tensor in tensors)


def _parts(name: str, held: object) -> Iterator[tuple[str, object]]:
    if isinstance(held, dict):
        for key, value in list(held.items()):
            text = "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
            yield from _parts(f"{name}.{text}", value)
    elif isinstance(held, (list, tuple)):
        for value in held:
            yield from _parts(name, value)
    else:
        yield name, held
