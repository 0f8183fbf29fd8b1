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

    A process that is killed leaves the old file, and perhaps a partial one, which the next
    writer replaces and `remove_partial_files` removes.
    """
    partial = path.with_name(path.name + _SUFFIX)
    yield partial
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


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
