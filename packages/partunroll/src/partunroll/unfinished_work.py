"""unfinished_work: a folder beside an output in which a run that was killed is found again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from normalfit.exchange import put_in_place
from normalfit.written_beside import check_output
from partunroll.errors import InputError
from partunroll.file_lock import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_DIGITS = 16  # of the hashes in a folder's name
_LOCK, _PLAN, _OUTPUT = "lock", "plan.json", "output"


@dataclass(eq=False)
class UnfinishedWork:
    """What `unfinished_work` yields.

    Attributes
    ----------
    folder
        Where to work; it holds what an earlier run with the same plan left there.
    fresh
        The output, before it is renamed.
    worth_keeping
        Whether the folder stays where the block fails; a killed run always leaves it.
    """

    folder: Path
    fresh: Path
    worth_keeping: bool = False


@contextmanager
def unfinished_work(target: Path, plan: Mapping[str, Any]) -> Iterator[UnfinishedWork]:
    """Yield a folder beside `target` to work in; its ``fresh`` is renamed to `target` at the end.

    The folder is named after the target and the plan, so that a run with the same plan, and no
    other, goes on where a killed one was. Those of other plans of the same target stay until
    one of them is finished, which removes them all.

    Parameters
    ----------
    target
        A new file or folder.
    plan
        All that decides what the output holds, as JSON values.

    Raises
    ------
    InputError
        `target` exists or cannot be made (normalfit's), or another process is making it.
    """
    prefix = f".partunroll-{_short_hash(os.fsencode(target.name))}-"
    check_output(target)
    document = json.dumps(plan, sort_keys=True, indent=1)
    folder = target.absolute().with_name(f"{prefix}{_short_hash(document.encode())}.unfinished")
    locked = _locked(folder, target)
    work = UnfinishedWork(folder, folder / _OUTPUT)
    try:
        if not work.fresh.exists():  # what is recorded of it is gone with it
            _clear(folder)
        (folder / _PLAN).write_text(document, encoding="utf-8")  # for whoever finds the folder
        yield work
        put_in_place(work.fresh, target, overwrite=False)
    except FileExistsError as error:
        msg = f"output must not exist yet, got {target}, made meanwhile; the result is {work.fresh}"
        raise InputError(msg) from error
    except BaseException:
        if not work.worth_keeping:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)
        for other in _folders(target, prefix):
            _remove_unless_locked(other)
    finally:
        locked.close()


def _folders(target: Path, prefix: str) -> list[Path]:
    return sorted(target.absolute().parent.glob(f"{prefix}*.unfinished"))


def _clear(folder: Path) -> None:
    """Remove everything but the lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _locked(folder: Path, target: Path) -> IO[bytes]:
    """Make the folder and return its lock file, open and locked until it is closed."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            file = (folder / _LOCK).open("ab")
        except FileNotFoundError:  # removed meanwhile by the process that was finished
            continue
        if not lock(file):
            file.close()
            msg = f"output must be made by one process at a time, got {target} in another's hands"
            raise InputError(msg)
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == (folder / _LOCK).stat().st_ino:
                return file
        file.close()


def _remove_unless_locked(folder: Path) -> None:
    with suppress(OSError), (folder / _LOCK).open("ab") as file:
        if lock(file):
            shutil.rmtree(folder, ignore_errors=True)
