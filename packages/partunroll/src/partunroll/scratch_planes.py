"""ScratchPlanes: a few planes of a volume in a file that nobody sees, read and written by rows."""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class ScratchPlanes:
    """The last `count` planes of a volume, on disk; a plane takes the place of an earlier one.

    The file has no name and goes with the process, also when that is killed. What is read and
    written passes by, and is not part of the process's memory (as mapped files would be).

    Parameters
    ----------
    folder
        Where the file is.
    count
        Planes that are kept: plane ``i`` is there until plane ``i + count`` is written.
    shape
        Shape of the volume, ``(planes, rows, …)``.
    dtype
        Of the volume.
    """

    def __init__(
        self, folder: Path, count: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see __exit__
        self._count, self._dtype = count, dtype
        self._rows, self._row_shape = shape[1], shape[2:]
        self._row_bytes = dtype.itemsize * math.prod(self._row_shape)
        os.truncate(self._file.fileno(), count * self._rows * self._row_bytes)

    def read(self, planes: range, rows: range) -> np.ndarray:
        """Return ``(len(planes), len(rows), …)``; zeros where nothing was written yet."""
        values = np.empty((len(planes), len(rows), *self._row_shape), self._dtype)
        for plane, number in zip(values, planes, strict=True):
            left, place = _bytes(plane), self._place(number, rows)
            while len(left):
                done = os.preadv(self._file.fileno(), [left], place)
                if not done:
                    msg = f"scratch file must have {place} bytes, got fewer"
                    raise OSError(msg)
                left, place = left[done:], place + done
        return values

    def write(self, first: int, rows: range, values: np.ndarray) -> None:
        """Write ``(count, len(rows), …)`` as the planes from number `first` on."""
        for number, plane in enumerate(values, first):
            content = np.ascontiguousarray(plane, self._dtype)
            left, place = _bytes(content), self._place(number, rows)
            while len(left):
                done = os.pwrite(self._file.fileno(), left, place)
                left, place = left[done:], place + done

    def _place(self, plane: int, rows: range) -> int:
        return ((plane % self._count) * self._rows + rows.start) * self._row_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, which deletes it."""
        self._file.close()


def _bytes(values: np.ndarray) -> memoryview:
    """Return the memory of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data
