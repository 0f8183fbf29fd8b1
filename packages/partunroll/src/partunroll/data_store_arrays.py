"""The arrays of a data store: chunks with checksums, none of which may be missing.

Zarr reads a missing chunk as zeros without a word, and its default codecs have no checksum.
Here every chunk is written, also one of zeros, ends in a CRC-32C, and must be there to be read.
The fill value is NaN, so that other readers do not take a missing chunk for zeros either.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from partunroll.data_store_header import ArrayEntry
from partunroll.errors import DataStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from normalfit.grid import Patch

CODECS = ["bytes", "zstd", "crc32c"]
ZSTD_LEVEL = 1  # floats hardly compress; the regions of zeros do at any level


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever zarr and its codecs raise on a damaged store into a DataStoreError."""
    try:
        yield
    except DataStoreError as error:
        msg = f"data at {path} must be sound: {error}"
        raise DataStoreError(msg) from error
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # zarr, numcodecs and json raise many kinds
        reason = " ".join(str(error).split())
        msg = f"data at {path} must be sound, got {type(error).__name__}: {reason}"
        raise DataStoreError(msg) from error


def write_array(
    path: Path,
    values: np.ndarray,
    chunks: tuple[int, ...],
    attributes: Mapping[str, object] | None = None,
) -> ArrayEntry:
    """Write one array with checksums, read it back, and return its entry for the header.

    Raises
    ------
    DataStoreError
        It does not read back bit for bit.
    """
    entry = ArrayEntry(shape=values.shape, dtype=values.dtype.name, chunks=chunks)
    new_array(path, entry, attributes)[...] = values
    if CheckedArray(path, entry).read().tobytes() != values.tobytes():
        msg = f"{path.name} must read back as it was written, got other bytes"
        raise DataStoreError(msg)
    return entry


def new_array(
    path: Path, entry: ArrayEntry, attributes: Mapping[str, object] | None = None
) -> zarr.Array[Any]:
    """Make an array without chunks, to be written chunk by chunk, each with a checksum."""
    dtype = np.dtype(entry.dtype)
    return zarr.create_array(
        path,
        shape=entry.shape,
        dtype=dtype,
        chunks=entry.chunks,
        serializer=BytesCodec(endian="little"),
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        fill_value=np.nan if dtype.kind in "fc" else 0,
        config={"write_empty_chunks": True},
        attributes=dict(attributes or {}),  # type: ignore[arg-type] # JSON by the caller's word
    )


class CheckedArray:
    """One array of a data store; every read checks that its chunks exist and are sound.

    Parameters
    ----------
    path
        Folder of the array.
    entry
        What the header says about it.

    Raises
    ------
    DataStoreError
        The array is not what the header says.
    """

    def __init__(self, path: Path, entry: ArrayEntry) -> None:
        self._path = path
        self._entry = entry
        self._array = zarr.open_array(path, mode="r", zarr_format=3)
        found = ArrayEntry(
            shape=self._array.shape, dtype=self._array.dtype.name, chunks=self._array.chunks
        )
        codecs = [codec["name"] for codec in self._array.metadata.to_dict()["codecs"]]  # type: ignore[union-attr,index,call-overload] # JSON
        if found != entry or codecs != CODECS:
            msg = f"{path.name} must be {entry} with codecs {CODECS}, got {found} with {codecs}"
            raise DataStoreError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._entry.shape

    def read(self, patch: Patch | None = None) -> np.ndarray:
        """Return the array or a patch of it, reading no chunk that the patch does not meet.

        Raises
        ------
        DataStoreError
            A chunk is missing (it is not read as zeros).
        InputError
            The patch does not lie inside the array; normalfit's.
        """
        if patch is not None:
            patch.check_inside(self.shape)
        region = tuple(slice(0, n) for n in self.shape) if patch is None else patch.slices
        self._check_chunks(region)
        return np.asarray(self._array[region])

    def _check_chunks(self, region: tuple[slice, ...]) -> None:
        met = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(region, self._entry.chunks, strict=True)
        ]
        for index in itertools.product(*met):
            if not self._path.joinpath("c", *map(str, index)).is_file():
                msg = f"chunk {'/'.join(map(str, index))} of {self._path.name} must exist, got none"
                raise DataStoreError(msg)
