"""StoredFiles: the files of a factor file, in a folder or in a zip archive."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zarr.storage import LocalStore, ZipStore

from normalfit.errors import CorruptFileError, NotAFactorFileError
from normalfit.exchange import recover

if TYPE_CHECKING:
    from types import TracebackType

    from zarr.abc.store import Store

    from normalfit.factor_file.limits import Limits


class StoredFiles(ABC):
    """Read access to files by their names, relative and with ``/``; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files, sorted; links count as files."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the bytes of a file; None where there is none."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file that exists, to read."""

    @property
    @abstractmethod
    def store(self) -> Store:
        """The same files as a Zarr store."""

    def read(self, name: str, limits: Limits) -> bytes:
        """Return the bytes of a small file.

        Raises
        ------
        CorruptFileError
            There is none.
        LimitError
            It is not small.
        """
        size = self.size(name)
        if size is None:
            msg = f"{name} must exist, got none"
            raise CorruptFileError(msg, [(name, "must exist, got none")])
        limits.check(name, size, "bytes", limits.metadata_bytes)
        with self.open(name) as file:
            return file.read()

    def head(self, name: str, count: int) -> bytes:
        """Return the first `count` bytes of a file that exists."""
        with self.open(name) as file:
            return file.read(count)

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""

    def __enter__(self) -> StoredFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FolderFiles(StoredFiles):
    """Files in a folder."""

    def names(self) -> list[str]:
        found = []
        for folder, subfolders, files in os.walk(self.path):
            links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
            found += [
                (Path(folder) / name).relative_to(self.path).as_posix() for name in files + links
            ]
        return sorted(found)

    def size(self, name: str) -> int | None:
        path = self.path / name
        return path.stat().st_size if path.is_file() and not path.is_symlink() else None

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")

    @cached_property
    def store(self) -> Store:
        return LocalStore(self.path, read_only=True)

    def close(self) -> None:
        """Nothing stays open."""


class ZipFiles(StoredFiles):
    """Files in a zip archive, each uncompressed and there once.

    Raises
    ------
    CorruptFileError
        The archive cannot be read, or holds compressed or repeated names.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # a damaged archive raises many kinds
            msg = f"archive must be sound, got {type(error).__name__}: {error}"
            raise CorruptFileError(msg) from error
        self._members = {info.filename: info for info in self._archive.infolist()}
        try:
            self._check()
        except CorruptFileError:
            self._archive.close()
            raise

    def _check(self) -> None:
        if len(self._members) != len(self._archive.infolist()):
            msg = "archive must hold every name once, got a name twice"
            raise CorruptFileError(msg)
        for info in self._members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                msg = f"{info.filename} must be stored uncompressed, got another method; use zip -0"
                raise CorruptFileError(msg)

    def names(self) -> list[str]:
        return sorted(name for name in self._members if not name.endswith("/"))

    def size(self, name: str) -> int | None:
        return self._members[name].file_size if name in self._members else None

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    @cached_property
    def store(self) -> Store:
        return ZipStore(self.path, mode="r")

    def close(self) -> None:
        if "store" in self.__dict__:
            self.store.close()
        self._archive.close()


def stored_files(path: str | Path) -> StoredFiles:
    """Open what lies at `path`, a folder or a zip archive.

    Where a writer was killed in the instant of an exchange, the old file is put back first.

    Raises
    ------
    NotAFactorFileError
        There is nothing, or neither a folder nor an archive.
    CorruptFileError
        An archive cannot be read.
    """
    path = Path(path)
    recover(path)
    if path.is_dir():
        return FolderFiles(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipFiles(path)
    got = "another file" if path.exists() else "nothing there"
    msg = f"it must be a folder or a .zip with a zarr.json, got {got}"
    raise NotAFactorFileError(msg)
