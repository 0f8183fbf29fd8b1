"""StoredVolume: a volume on disk, read by planes or patches.  PlaneWriter: writes one in order."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.grid import Patch
from partunroll.errors import DataStoreError
from partunroll.store.data_store_arrays import CheckedArray, damage_reported, new_array
from partunroll.store.data_store_header import ArrayEntry, chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import zarr

    from partunroll.scratch_planes import ScratchPlanes


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """A volume in a Zarr array with a checksum on every chunk; opened where it is first read.

    Parameters
    ----------
    path
        Folder of the array.
    shape, dtype
        Of the volume.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def entry(self) -> ArrayEntry:
        """What a header says about the array."""
        chunks = chunks_of(self.shape, by_view=False)
        return ArrayEntry(shape=self.shape, dtype=self.dtype.name, chunks=chunks)

    def __getitem__(self, planes: slice) -> np.ndarray:
        """Return planes ``[a:b]`` of the first axis.

        Raises
        ------
        DataStoreError
            A chunk is missing or damaged.
        """
        start, stop, _ = planes.indices(self.shape[0])
        rest = (0,) * (len(self.shape) - 1)
        return self.read(Patch((start, *rest), (stop - start, *self.shape[1:])))

    def read(self, patch: Patch) -> np.ndarray:
        """Return a patch, reading the chunks that it meets; raises as indexing."""
        with damage_reported(self.path):
            return self._checked.read(patch)

    def extract(self, patches: Sequence[Patch], device: torch.device | str) -> torch.Tensor:
        """Return patches ``(len(patches), *p)``; raises as indexing."""
        return torch.from_numpy(np.stack([self.read(patch) for patch in patches])).to(device)

    def writer(
        self, first: int = 0, on_written: Callable[[int], None] = lambda _: None
    ) -> PlaneWriter:
        """Return a writer that makes the array, or goes on with it from plane `first`."""
        if first == 0:
            shutil.rmtree(self.path, ignore_errors=True)  # of a process that was killed
            array = new_array(self.path, self.entry)
        else:
            import zarr

            array = zarr.open_array(self.path, mode="r+", zarr_format=3)
        return PlaneWriter(array, first, on_written)

    @cached_property
    def _checked(self) -> CheckedArray:
        return CheckedArray(self.path, self.entry)


class PlaneWriter:
    """Writes the planes of a volume in order, every chunk once and whole.

    Parameters
    ----------
    array
        The array.
    first
        The first plane that is written: a multiple of the chunks' planes.
    on_written
        Called with the number of planes that are on disk, whenever it has grown.
    """

    def __init__(
        self, array: zarr.Array[Any], first: int, on_written: Callable[[int], None]
    ) -> None:
        self._array = array
        self._done = first
        self._on_written = on_written
        self._waiting: list[np.ndarray] = []

    def write_from(self, scratch: ScratchPlanes, stop: int) -> None:
        """Write the planes before `stop` that fill chunks, a row of chunks at a time."""
        sides, shape = self._array.chunks, self._array.shape
        ready = stop if stop == shape[0] else stop - stop % sides[0]
        for start in range(self._done, ready, sides[0]):
            planes = range(start, min(start + sides[0], ready))
            for row in range(0, shape[1], sides[1]):
                rows = range(row, min(row + sides[1], shape[1]))
                self._array[start : planes.stop, row : rows.stop] = scratch.read(planes, rows)
        if ready > self._done:
            self._done = ready
            self._on_written(ready)

    def write(self, planes: np.ndarray | torch.Tensor) -> None:
        """Take the next planes, ``(count, …)``; they reach the disk with their chunks."""
        if isinstance(planes, torch.Tensor):
            planes = planes.detach().cpu().resolve_conj().numpy()
        if len(planes):
            self._waiting.append(np.array(planes))
        count, side = sum(map(len, self._waiting)), self._array.chunks[0]
        is_last = self._done + count == self._array.shape[0]
        ready = count if is_last else count - count % side
        if not ready:
            return
        together = np.concatenate(self._waiting)
        self._waiting = [together[ready:].copy()] if ready < count else []
        self._array[self._done : self._done + ready] = together[:ready]
        self._done += ready
        self._on_written(self._done)


def write_planes(
    path: Path,
    volume: np.ndarray | StoredVolume,
    scale: float = 1.0,
    attributes: Mapping[str, object] | None = None,
) -> ArrayEntry:
    """Write a volume as float32 or complex64, some planes at a time, and read them back.

    Parameters
    ----------
    path
        Folder of the new array.
    volume
        In memory or on disk.
    scale
        What it is multiplied by.
    attributes
        JSON values kept with it.

    Raises
    ------
    DataStoreError
        A part of it does not read back bit for bit.
    """
    shape = tuple(volume.shape)
    dtype = np.dtype(np.complex64 if volume.dtype.kind == "c" else np.float32)
    stored = StoredVolume(path, shape, dtype)
    array, side = new_array(path, stored.entry, attributes), stored.entry.chunks[0]
    for start in range(0, shape[0], side):
        planes = np.ascontiguousarray(scale * volume[start : start + side], dtype=dtype)
        array[start : start + side] = planes
        if stored[start : start + side].tobytes() != planes.tobytes():
            msg = f"{path.name} must read back as it was written, got other bytes"
            raise DataStoreError(msg)
    return stored.entry
