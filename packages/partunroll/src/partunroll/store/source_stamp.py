"""source_stamp: what tells whether a file or folder is still the one that was read before."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from partunroll.errors import InputError
from partunroll.volumes.array_file import KEY_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable


def source_stamp(path: Path | str) -> list[str]:
    """Return the absolute path, and size and time of change of every file that belongs to it.

    Parameters
    ----------
    path
        A file, ``FILE::KEY``, a folder, or a glob pattern, as `read_array` takes them.

    Raises
    ------
    InputError
        There is nothing there.
    """
    name = str(path).partition(KEY_MARK)[0]
    root = Path(name)
    if any(character in name for character in "*?"):
        files = sorted(Path(found) for found in glob.glob(name))  # noqa: PTH207 - may be absolute
    elif root.is_dir():
        files = sorted(file for file in root.rglob("*") if file.is_file())
    else:
        files = [root]
    return [str(Path(str(path)).absolute()), *file_stamps(files)]


def file_stamps(files: Iterable[Path]) -> list[str]:
    """Return path, size and time of change of every file.

    Raises
    ------
    InputError
        One does not exist.
    """
    try:
        stats = [(file, file.stat()) for file in files]
    except OSError as error:
        msg = f"{error.filename} must be an existing file or folder, got: {error.strerror}"
        raise InputError(msg) from error
    return [f"{file.absolute()} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats]
