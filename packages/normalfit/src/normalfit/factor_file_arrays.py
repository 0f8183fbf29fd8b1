"""The arrays of a factor file: chunks with checksums, none of which may be missing.

Zarr reads a missing chunk as zeros without a word, and its default codecs have no checksum.
Here every chunk is written, also one of zeros, ends in a CRC-32C, and must be there to be read.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from normalfit.errors import FactorFileError
from normalfit.factor_file_header import ArrayEntry, expected_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CODECS = ["bytes", "zstd", "crc32c"]
_CHUNK_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_ZSTD_LEVEL = 1  # floats hardly compress; the regions of zeros do at any level


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever zarr and its codecs raise on a damaged file into a FactorFileError."""
    try:
        yield
    except FactorFileError as error:
        msg = f"{path} must be a sound factor file: {error}"
        raise FactorFileError(msg) from error
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # zarr, numcodecs and json raise many kinds
        msg = f"{path} must be a sound factor file, got {type(error).__name__}: {error}"
        raise FactorFileError(msg) from error


def write_array(group: zarr.Group, name: str, values: np.ndarray[Any, Any]) -> ArrayEntry:
    """Write one array with checksums and return its entry for the header.

    One chunk at a time: of several at once, zarr would go on writing after one has failed,
    into a folder that is being removed.
    """
    chunks = expected_chunks(name, values.shape)
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        serializer=BytesCodec(endian="little"),
        compressors=[ZstdCodec(level=_ZSTD_LEVEL), Crc32cCodec()],
        config={"write_empty_chunks": True},
    )
    whole = tuple(slice(0, n) for n in values.shape)
    for index in itertools.product(*_chunk_grid(whole, chunks)):
        region = tuple(
            slice(i * side, (i + 1) * side) for i, side in zip(index, chunks, strict=True)
        )
        array[region] = values[region]
    return ArrayEntry(shape=values.shape, dtype=values.dtype.name, chunks=chunks)


class CheckedArray:
    """One array of a factor file; every read checks that its chunks exist and are sound.

    Parameters
    ----------
    path
        The factor file.
    name
        Name of the array.
    entry
        What the header says about it.

    Raises
    ------
    FactorFileError
        The array is missing, or is not what the header says.
    """

    def __init__(self, path: Path, name: str, entry: ArrayEntry) -> None:
        self._folder = path / name
        self._name = name
        self._entry = entry
        array = zarr.open_array(path / name, mode="r", zarr_format=3)
        found = ArrayEntry(shape=array.shape, dtype=array.dtype.name, chunks=array.chunks)
        if found != entry:
            msg = f"{name} must be {_summary(entry)}, got {_summary(found)}"
            raise FactorFileError(msg)
        _check_storage(name, array)
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._entry.shape

    def read(self, region: tuple[slice, ...] | None = None) -> np.ndarray[Any, Any]:
        """Return the array or a region of it, reading no chunk that the region does not meet.

        `region` has one slice with a start and a stop per axis.

        Raises
        ------
        FactorFileError
            A chunk of the region is missing (it is not read as zeros).
        """
        region = region or tuple(slice(0, n) for n in self.shape)
        self._check_chunks(region)
        return np.asarray(self._array[region])

    def _check_chunks(self, region: tuple[slice, ...]) -> None:
        """Refuse missing chunks; runs before the result is allocated, so no shape can lie."""
        for index in itertools.product(*_chunk_grid(region, self._entry.chunks)):
            chunk = self._folder.joinpath("c", *map(str, index))
            if not chunk.is_file():
                msg = f"chunk {'/'.join(map(str, index))} of {self._name} must exist, got none"
                raise FactorFileError(msg)


def _check_storage(name: str, array: zarr.Array[Any]) -> None:
    """Refuse what the writer does not write: under other keys zarr finds no chunks but zeros."""
    metadata: Any = array.metadata.to_dict()
    codecs = [codec["name"] for codec in metadata["codecs"]]
    endian = metadata["codecs"][0].get("configuration", {}).get("endian", "little")
    if codecs != _CODECS or endian != "little":  # bytes have no endian
        msg = f"codecs of {name} must be {_CODECS}, little endian, got {codecs}"
        raise FactorFileError(msg)
    if metadata["chunk_key_encoding"] != _CHUNK_KEYS:
        got = metadata["chunk_key_encoding"]
        msg = f"chunk_key_encoding of {name} must be {_CHUNK_KEYS}, got {got}"
        raise FactorFileError(msg)
    if array.fill_value != 0:
        msg = f"fill_value of {name} must be 0, got {array.fill_value!r}"
        raise FactorFileError(msg)
    if metadata.get("storage_transformers"):
        got = metadata["storage_transformers"]
        msg = f"storage_transformers of {name} must be none, got {got}"
        raise FactorFileError(msg)


def _chunk_grid(region: tuple[slice, ...], chunks: tuple[int, ...]) -> list[range]:
    """Return the chunk indices per axis that a region meets."""
    return [
        range(part.start // side, -(-part.stop // side))
        for part, side in zip(region, chunks, strict=True)
    ]


def _summary(entry: ArrayEntry) -> str:
    return f"{entry.dtype} {entry.shape} in chunks of {entry.chunks}"
