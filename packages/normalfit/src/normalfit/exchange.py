"""Put a new file or folder in the place of an old one: a kill leaves the old or the new."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NOREPLACE, _EXCHANGE = 1, 2  # flags of Linux' renameat2
_AT_FDCWD = -100
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}  # by the kernel, by the file system


def put_in_place(fresh: Path, target: Path, *, overwrite: bool) -> None:
    """Rename `fresh` to `target`; with `overwrite`, what was there takes the place of `fresh`.

    Where the system can exchange two names at once, there is no moment without a target. Else
    the old one is moved to `aside(target)` for an instant, and `recover` brings it back if that
    was the last. When this fails, `target` is as it was and `fresh` is kept.

    Raises
    ------
    FileExistsError
        There is a target, and `overwrite` is not set.
    """
    if not os.path.lexists(target):
        if not _renamed(fresh, target, _NOREPLACE):
            fresh.rename(target)
    elif not overwrite:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    elif not _renamed(fresh, target, _EXCHANGE):
        _replace_through_aside(fresh, target)
    _remove(aside(target))  # of a writer that was killed before it came to this line


def recover(target: Path) -> None:
    """Bring back what a killed writer had moved aside, if nothing took its place."""
    old = aside(target)
    if not os.path.lexists(old) or os.path.lexists(target):
        return
    with suppress(FileNotFoundError, FileExistsError):  # another process was faster
        if not _renamed(old, target, _NOREPLACE):
            old.rename(target)


def aside(target: Path) -> Path:
    """Return where the old file waits while it is replaced, by a name that fits any folder."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]
    return target.absolute().with_name(f".normalfit-{name}.replaced")


def _replace_through_aside(fresh: Path, target: Path) -> None:
    old = aside(target)
    _remove(old)
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise


def _renamed(source: Path, target: Path, flag: int) -> bool:
    """Rename as `flag` says; False where the system cannot, and nothing has changed."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    names = os.fsencode(source), os.fsencode(target)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _renameat2() -> Any:  # noqa: ANN401 - a function of the C library
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another system, or an old C library
        return None
    path = (ctypes.c_int, ctypes.c_char_p)
    function.argtypes = [*path, *path, ctypes.c_uint]
    return function


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
