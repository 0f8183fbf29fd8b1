"""ResponseFolder: responses ``N w`` on disk, so that a fit that was killed goes on with them."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.errors import InputError, MismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = "responses.json"
_FORMAT = {"format": "normalfit-responses", "version": 1}
_CHECKSUM_BYTES = 4
_NUMPY_DTYPES = {
    torch.float32: "<f4",
    torch.float64: "<f8",
    torch.complex64: "<c8",
    torch.complex128: "<c16",
}


@dataclass(frozen=True)
class ResponseFolder:
    """A folder of responses of one operator.

    A response is one file ``STREAM-seedS-INDEX.response``: its values, little endian, and their
    CRC-32. It is written beside and renamed, so that it is whole or absent; several processes
    may use one folder. ``responses.json`` says whose responses they are.

    Parameters
    ----------
    path
        The folder; it is made where there is none.
    fingerprint
        Of the operator, any name that no other operator has.
    """

    path: str | Path
    fingerprint: str

    def responses(
        self, shape: tuple[int, ...], dtype: torch.dtype, stream: str, seed: int
    ) -> StoredResponses:
        """Return the responses of one stream and seed, of which any number may be there.

        Raises
        ------
        MismatchError
            The folder holds responses of another operator, shape or dtype.
        InputError
            `path` is a file, or a folder with other things in it.
        """
        folder = Path(self.path)
        header = {
            **_FORMAT,
            "fingerprint": self.fingerprint,
            "shape": list(shape),
            "dtype": str(dtype).removeprefix("torch."),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = [file.name for file in folder.iterdir()]
        except OSError as error:
            msg = f"responses must be a folder, got {folder} ({error.strerror})"
            raise InputError(msg) from error
        _remove_partial_files(folder, names)
        if _HEADER in names:
            _check_header(folder / _HEADER, header)
        elif any(not name.endswith(".partial") for name in names):
            msg = f"responses must be a new folder or one of a fit, got {folder} with other files"
            raise InputError(msg)
        else:
            _write_whole(folder / _HEADER, json.dumps(header, indent=2).encode())
        return StoredResponses(folder, f"{stream.replace(' ', '-')}-seed{seed}", shape, dtype)


@dataclass(frozen=True)
class StoredResponses:
    """The responses of one stream and seed on disk.

    Parameters
    ----------
    folder
        Where they are.
    prefix
        Stream and seed in the files' names.
    shape, dtype
        Of each.
    """

    folder: Path
    prefix: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def has(self, index: int) -> bool:
        """Tell whether a response is there."""
        return self._file(index).is_file()

    def write(self, index: int, response: torch.Tensor) -> None:
        """Keep a response, all or nothing."""
        values = np.ascontiguousarray(_whole(response).numpy()).astype(_NUMPY_DTYPES[self.dtype])
        data = values.tobytes()
        _write_whole(self._file(index), data, _checksum(data))

    def read(self, index: int) -> torch.Tensor:
        """Return a response, ``(*shape)``, on the CPU.

        Raises
        ------
        InputError
            The file is missing, cut off or damaged.
        """
        file, dtype = self._file(index), np.dtype(_NUMPY_DTYPES[self.dtype])
        try:
            data = bytearray(file.read_bytes())
        except OSError as error:
            msg = f"response must be readable, got {file} ({error.strerror}); fit again"
            raise InputError(msg) from error
        size = math.prod(self.shape) * dtype.itemsize
        values = memoryview(data)[:size]
        if len(data) != size + _CHECKSUM_BYTES or _checksum(values) != data[size:]:
            msg = f"response must have its length and checksum, got {file} damaged; delete it"
            raise InputError(msg)
        array = np.frombuffer(values, dtype).reshape(self.shape)
        return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=False))

    def _file(self, index: int) -> Path:
        return self.folder / f"{self.prefix}-{index:06d}.response"


def _whole(response: torch.Tensor) -> torch.Tensor:
    """Return it on the CPU as NumPy takes it: conjugated and negated where that is pending."""
    return response.detach().resolve_conj().resolve_neg().cpu()


class LazyTensors(Sequence[torch.Tensor]):
    """Tensors of one shape that are made when they are asked for, and not kept.

    Parameters
    ----------
    make
        Returns the tensor of an index.
    count
        How many there are.
    shape
        Shape of each.
    """

    def __init__(
        self, make: Callable[[int], torch.Tensor], count: int, shape: tuple[int, ...]
    ) -> None:
        self._make, self._count, self.shape = make, count, shape

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> torch.Tensor:  # type: ignore[override] # no slices
        if not -self._count <= index < self._count:
            msg = f"index must be below {self._count}, got {index}"
            raise IndexError(msg)
        return self._make(index % self._count)


def _check_header(file: Path, expected: dict[str, object]) -> None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{file} must be readable, got {type(error).__name__}; use a new folder"
        raise InputError(msg) from error
    if not isinstance(found, dict) or found.get("format") != expected["format"]:
        msg = f"responses must be a new folder or one of a fit, got {file} of something else"
        raise InputError(msg)
    for key, value in expected.items():
        if found.get(key) != value:
            msg = (
                f"{key} of the responses in {file.parent} must be {value}, got {found.get(key)}; "
                "use a new folder"
            )
            raise MismatchError(msg)


def _checksum(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def _write_whole(file: Path, *parts: bytes) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        for part in parts:
            stream.write(part)
    partial.replace(file)


def _remove_partial_files(folder: Path, names: Sequence[str]) -> None:
    """Remove what killed processes left; what a running one writes stays."""
    for name in names:
        found = re.fullmatch(r"\..*\.(\d+)\.partial", name)
        if found and not _runs(int(found[1])):
            (folder / name).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
