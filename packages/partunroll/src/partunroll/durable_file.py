"""written_durably: a file that is whole under its name, also after a kill or a loss of power."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SUFFIX = ".partial"


@contextmanager
def written_durably(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file to; put it in place once the disk has it.

    When it fails, as on a full disk, the old file stays and nothing is left beside it. A process
    that is killed leaves the old file, and perhaps a partial one, which the next writer replaces
    and `remove_partial_files` removes.
    """
    partial = path.with_name(path.name + _SUFFIX)
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        partial.unlink(missing_ok=True)  # renaming one link of a file to another does nothing
    except BaseException:
        partial.unlink(missing_ok=True)  # it may be what fills the disk
        raise
    _sync(path.parent)


@contextmanager
def file_named(path: Path) -> Iterator[None]:
    """Let failures of writing name the file, as those of a full disk do not by themselves.

    Raises
    ------
    OSError
        Of the block, with `path` where it names none.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except RuntimeError as error:  # torch's writer hides what the system said
        cause = error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def remove_partial_files(folder: Path) -> None:
    """Remove what killed writers of files in `folder` have left."""
    for partial in folder.glob(f"*{_SUFFIX}"):
        if partial.is_file():
            partial.unlink()


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder, where folders can be opened."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
