"""comparison_folder: the folder of a comparison, made or gone on with, by one process at a time."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from normalfit.written_beside import check_output
from partunroll import file_lock
from partunroll.durable_file import written_durably
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARK, _LOCK = "comparison.json", "lock"
_FORMAT = {"format": "partunroll-comparison", "version": 1}


@contextmanager
def comparison_folder(path: Path) -> Iterator[Path]:
    """Yield the folder; another process that wants it meanwhile is refused.

    Raises
    ------
    InputError
        There is something else at `path`, it cannot be made (normalfit's), or another process
        works in it.
    """
    if path.exists():
        _check_mark(path)
    else:
        check_output(path)
        path.mkdir()
    with (path / _LOCK).open("ab") as lock:
        if not file_lock.lock(lock):
            msg = f"output must be made by one process at a time, got {path} in another's hands"
            raise InputError(msg)
        if not (path / _MARK).exists():
            with written_durably(path / _MARK) as fresh:
                fresh.write_text(json.dumps(_FORMAT) + "\n", encoding="utf-8")
        yield path


def _check_mark(path: Path) -> None:
    if path.is_dir() and not any(entry.name != _LOCK for entry in path.iterdir()):
        return
    try:
        found = json.loads((path / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != _FORMAT:
        msg = f"output must be new or a comparison to go on with, got {path}; choose another"
        raise InputError(msg)
