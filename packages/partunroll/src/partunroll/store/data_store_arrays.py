"""The arrays of a data store: chunks with checksums, none of which may be missing.

Zarr reads a missing chunk as zeros without a word, and its default codecs have no checksum.
Here every chunk is written, also one of zeros, ends in a CRC-32C, and must be there to be read.
The fill value is NaN, so that other readers do not take a missing chunk for zeros either.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from normalfit.grid import Patch
from partunroll.errors import DataStoreError
from partunroll.store.data_store_header import ArrayEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CODECS = ["bytes", "zstd", "crc32c"]
SLAB_BYTES = 2**25  # several chunks of 32³ across 512², few against a volume  # our choice
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
    *,
    digest: bool = False,
) -> ArrayEntry:
    """Write one array with checksums, read it back, and return its entry for the header.

    It is written and read a slab at a time: beside `values`, a few times `SLAB_BYTES` are held.

    Parameters
    ----------
    path
        Folder to make.
    values
        The array.
    chunks
        Chunk shape.
    attributes
        Attributes of the Zarr array, JSON values.
    digest
        Give the entry the SHA-256 of the values too.

    Raises
    ------
    DataStoreError
        It does not read back bit for bit.
    """
    entry = ArrayEntry(shape=values.shape, dtype=values.dtype.name, chunks=chunks)
    array = new_array(path, entry, attributes)
    hashed = hashlib.sha256()
    written = CheckedArray(path, entry)
    for slab in slabs(values.shape, chunks, values.dtype.itemsize):
        part = np.ascontiguousarray(values[slab.slices])
        array[slab.slices] = part
        content = _bytes(part)
        if not np.array_equal(_bytes(written.read(slab)), content):
            msg = f"{path.name} must read back as it was written, got other bytes"
            raise DataStoreError(msg)
        if digest:
            hashed.update(content.data)
    return entry.model_copy(update={"sha256": hashed.hexdigest()}) if digest else entry


def slabs(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> Iterator[Patch]:
    """Yield slabs along the first axis, of whole chunks, in their order.

    Each has at most `SLAB_BYTES`, or is one chunk thick.
    """
    row_bytes = max(1, math.prod(shape[1:]) * itemsize)
    thickness = max(1, SLAB_BYTES // (row_bytes * chunks[0])) * chunks[0]
    for start in range(0, shape[0], thickness):
        stop = min(start + thickness, shape[0])
        yield Patch((start, *[0] * (len(shape) - 1)), (stop - start, *shape[1:]))


def _bytes(values: np.ndarray) -> NDArray[np.uint8]:
    """Return the bytes of an array in C order, little endian, without a copy where it is so."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


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
        if found != entry.layout or codecs != CODECS:
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

    def verify(self) -> None:
        """Read every chunk, a slab at a time.

        Raises
        ------
        DataStoreError
            A chunk is missing or damaged, a value is not finite, or the SHA-256 is not that of
            the entry (which an entry of version 0.1 does not have).
        """
        hashed = hashlib.sha256()
        dtype = np.dtype(self._entry.dtype)
        for slab in slabs(self.shape, self._entry.chunks, dtype.itemsize):
            values = self.read(slab)
            if not np.isfinite(values).all():
                msg = f"{self._path.name} must be finite, got NaN or infinite values"
                raise DataStoreError(msg)
            hashed.update(_bytes(values).data)
        if self._entry.sha256 not in (None, hashed.hexdigest()):
            msg = f"{self._path.name} must have the SHA-256 {self._entry.sha256}, got another"
            raise DataStoreError(msg)

    def _check_chunks(self, region: tuple[slice, ...]) -> None:
        met = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(region, self._entry.chunks, strict=True)
        ]
        for index in itertools.product(*met):
            if not self._path.joinpath("c", *map(str, index)).is_file():
                msg = f"chunk {'/'.join(map(str, index))} of {self._path.name} must exist, got none"
                raise DataStoreError(msg)
