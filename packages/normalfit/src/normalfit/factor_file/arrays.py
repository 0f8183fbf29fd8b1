"""The arrays of a factor file: chunks with checksums, none of which may be missing.

Zarr reads a missing chunk as zeros without a word, and its default codecs have no checksum.
Here every chunk is written, also one of zeros, ends in a CRC-32C, and must be there to be read.
"""

from __future__ import annotations

import itertools
import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from normalfit.errors import CorruptFileError, FactorFileError, NotAFactorFileError, told
from normalfit.factor_file.frames import content_size
from normalfit.factor_file.header import FACTORS, ArrayEntry, expected_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from normalfit.factor_file.limits import Limits
    from normalfit.factor_file.stored_files import StoredFiles

Region = tuple[slice, ...]

_CODECS = ["bytes", "zstd", "crc32c"]
_CHUNK_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_ZSTD_LEVEL = 1  # floats hardly compress; the regions of zeros do at any level
_HEAD_BYTES = 18  # the longest zstd frame header
_SPACE_AXES = ("z", "y", "x")


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever zarr and its codecs raise on a damaged file into a CorruptFileError."""
    try:
        yield
    except FactorFileError as error:
        kind = "factor file" if isinstance(error, NotAFactorFileError) else "sound factor file"
        msg = f"{path} must be a {kind}: {error}"
        raise type(error)(msg, error.problems) from error
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # zarr, numcodecs and json raise many kinds
        msg = f"{path} must be a sound factor file, got {type(error).__name__}: {error}"
        raise CorruptFileError(msg) from error


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
        dimension_names=_dimension_names(name, values.ndim),
    )
    for region in chunk_regions(values.shape, chunks):
        array[region] = values[region]
    return ArrayEntry(shape=values.shape, dtype=values.dtype.name, chunks=chunks)


def chunk_regions(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[Region]:
    """Yield the regions of the chunks of an array."""
    whole = tuple(slice(0, n) for n in shape)
    for index in itertools.product(*_chunk_grid(whole, chunks)):
        yield tuple(
            slice(i * side, min((i + 1) * side, n))
            for i, side, n in zip(index, chunks, shape, strict=True)
        )


class CheckedArray:
    """One array of a factor file; every read checks that its chunks exist and are sound.

    Parameters
    ----------
    files
        The factor file.
    name
        Name of the array.
    entry
        What the header says about it.
    limits
        What is refused.

    Raises
    ------
    CorruptFileError
        The array is missing, or is not what the header says.
    LimitError
        It is larger than the limits.
    """

    def __init__(self, files: StoredFiles, name: str, entry: ArrayEntry, limits: Limits) -> None:
        check_size(name, entry, limits)
        self._files = files
        self._name = name
        self._entry = entry
        metadata = _metadata(files, name, limits)
        try:
            problems = _metadata_problems(metadata, entry)
        except (AttributeError, TypeError, ValueError, LookupError) as error:  # of a wrong form
            problems = [f"must be the metadata of an array, got {told(error)}"]
        if problems:
            listed = [(f"{name}/zarr.json", problem) for problem in problems]
            raise CorruptFileError("; ".join(f"{name}: {p}" for p in problems), listed)
        self._array = zarr.open_array(files.store, path=name, mode="r", zarr_format=3)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._entry.shape

    @property
    def regions(self) -> Iterator[Region]:
        """The regions of the chunks."""
        return chunk_regions(self.shape, self._entry.chunks)

    def read(self, region: Region | None = None) -> np.ndarray[Any, Any]:
        """Return the array or a region of it, reading no chunk that the region does not meet.

        `region` has one slice with a start and a stop per axis.

        Raises
        ------
        CorruptFileError
            A chunk of the region is missing (it is not read as zeros), or damaged.
        """
        region = region or tuple(slice(0, n) for n in self.shape)
        for name in self.chunk_names(region):
            problem = self.chunk_problem(name)
            if problem:
                msg = f"chunk {name.removeprefix(f'{self._name}/c/')} of {self._name} {problem}"
                raise CorruptFileError(msg, [(name, problem)])
        return np.asarray(self._array[region])

    def chunk_names(self, region: Region | None = None) -> Iterator[str]:
        """Yield the names of the files whose chunks a region meets."""
        region = region or tuple(slice(0, n) for n in self.shape)
        for index in itertools.product(*_chunk_grid(region, self._entry.chunks)):
            yield f"{self._name}/c/{'/'.join(map(str, index))}"

    def chunk_problem(self, name: str) -> str | None:
        """Return what is wrong with a chunk's file as far as its size and first bytes tell.

        So nothing is allocated for a chunk that is missing, or says that it unpacks to more.
        """
        nbytes = math.prod(self._entry.chunks) * np.dtype(self._entry.dtype).itemsize
        size = self._files.size(name)
        if size is None:
            return "must exist, got none"
        if size > 2 * nbytes + 1024:
            return f"must have at most {2 * nbytes + 1024} bytes, got {size}"
        unpacked = content_size(self._files.head(name, _HEAD_BYTES))
        if unpacked != nbytes:
            return f"must be a zstd frame of {nbytes} bytes, got {unpacked}"
        return None


def check_size(name: str, entry: ArrayEntry, limits: Limits) -> None:
    """Raise LimitError where the entry of an array is larger than the limits."""
    nbytes = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
    limits.check(name, nbytes, "bytes", limits.array_bytes)
    count = math.prod(-(-n // side) for n, side in zip(entry.shape, entry.chunks, strict=True))
    limits.check(name, count, "chunks", limits.num_chunks)


def _metadata(files: StoredFiles, name: str, limits: Limits) -> dict[str, Any]:
    document = json.loads(files.read(f"{name}/zarr.json", limits))
    return document if isinstance(document, dict) else {}


def _metadata_problems(metadata: dict[str, Any], entry: ArrayEntry) -> list[str]:
    """Refuse what the writer does not write: under other keys zarr finds no chunks but zeros."""
    codecs = metadata.get("codecs") or []
    grid = (metadata.get("chunk_grid") or {}).get("configuration") or {}
    endian = (codecs[0].get("configuration") or {}).get("endian", "little") if codecs else None
    expected: dict[str, tuple[Any, Any]] = {
        "zarr_format": (3, metadata.get("zarr_format")),
        "node_type": ("array", metadata.get("node_type")),
        "shape": (entry.shape, tuple(metadata.get("shape") or ())),
        "dtype": (entry.dtype, metadata.get("data_type")),
        "chunks": (entry.chunks, tuple(grid.get("chunk_shape") or ())),
        "codecs": (_CODECS, [codec.get("name") for codec in codecs]),
        "byte order": ("little", endian),  # bytes have none
        "chunk_key_encoding": (_CHUNK_KEYS, metadata.get("chunk_key_encoding")),
        "fill_value": (True, metadata.get("fill_value") in (0, False, [0, 0])),
        "storage_transformers": ([], metadata.get("storage_transformers") or []),
    }
    return [
        f"{key} must be {wanted}, got {got}"
        for key, (wanted, got) in expected.items()
        if wanted != got
    ]


def _dimension_names(name: str, axes: int) -> list[str] | None:
    """Return names for programs that show them; a reader of factors passes them over."""
    space = axes - (name in FACTORS)
    if space > len(_SPACE_AXES) or not (name in FACTORS or name.startswith("check/")):
        return None
    names = [*_SPACE_AXES[len(_SPACE_AXES) - space :]]
    names = [f"lag_{axis}" for axis in names] if name == "kernel" else names
    return ["term", *names] if name in FACTORS else names


def _chunk_grid(region: Region, chunks: tuple[int, ...]) -> list[range]:
    """Return the chunk indices per axis that a region meets."""
    return [
        range(part.start // side, -(-part.stop // side))
        for part, side in zip(region, chunks, strict=True)
    ]
