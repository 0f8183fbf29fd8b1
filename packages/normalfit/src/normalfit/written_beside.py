"""Write a file or a folder beside its target and rename it when complete: all or nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from normalfit.errors import InputError
from normalfit.exchange import put_in_place, recover

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX, _SUFFIX = ".normalfit-", ".partial"
_FACTOR_FILE = ("zarr.json", "manifest.sha256")
_MAX_NAME_BYTES = 255  # of a file or a folder, on the file systems in use


def check_output(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuse an output that could not be written, before anything is computed.

    Raises
    ------
    InputError
        `path` exists and `overwrite` is not set, has no name or too long a one, or its folder is
        missing, read-only, or inside a factor file, which a file more would make invalid.
    """
    path = Path(path)
    if not path.absolute().name:
        msg = f"output must have a name, got {path}"
        raise InputError(msg)
    if len(os.fsencode(path.name)) > _MAX_NAME_BYTES:
        msg = f"name of the output must have at most {_MAX_NAME_BYTES} bytes, got {path.name}"
        raise InputError(msg)
    recover(path)
    if not overwrite and os.path.lexists(path):
        msg = f"output must not exist yet, got {path}; move it away or choose another name"
        raise InputError(msg)
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        msg = f"folder of the output must exist and be writable, got {folder}"
        raise InputError(msg)
    _check_outside("output", path)


def check_outputs(
    *paths: Path | None, responses: str | Path | None = None, replaced: Path | None = None
) -> None:
    """Refuse outputs that could not be written, or that are one; None stands for no output.

    Parameters
    ----------
    responses
        A folder that the computation writes to before its outputs; it must lie apart from them.
    replaced
        One of the paths, which may exist.

    Raises
    ------
    InputError
        As `check_output`, or two of them are the same or lie in each other, or `responses` is
        one, lies in one or in a factor file, or contains one.
    """
    wanted = [path for path in paths if path is not None]
    for path in wanted:
        check_output(path, overwrite=path == replaced)
    # by any name: through other folders, too; a link itself would be replaced, not followed
    places = [path.absolute().parent.resolve() / path.name for path in wanted]
    for one, other in itertools.permutations(places, 2):
        if one.is_relative_to(other):
            msg = "outputs must differ from each other, and lie apart, got "
            raise InputError(msg + ", ".join(map(str, wanted)))
    if responses is None:
        return
    _check_outside("responses", Path(responses) / "any")
    folder = Path(responses).resolve()
    for path in wanted:
        output = path.resolve()
        if folder.is_relative_to(output) or output.is_relative_to(folder):
            msg = (
                f"responses must lie apart from the output {path}, got {responses}; "
                "choose another folder"
            )
            raise InputError(msg)


def _check_outside(name: str, path: Path) -> None:
    """Refuse what would be written into a factor file, which holds nothing else."""
    inner = path.absolute().parent.resolve()
    for folder in (inner, *inner.parents):
        if all((folder / marker).is_file() for marker in _FACTOR_FILE):
            msg = f"{name} must lie outside of the factor file {folder}; choose another folder"
            raise InputError(msg)


@contextmanager
def written_beside(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path beside `target` to write a file or a folder to; rename it at the end.

    When the block fails, nothing is left and `target` is as it was. A process that is killed
    leaves a folder ``.normalfit-….partial`` behind, which blocks nobody and `remove_leftovers`
    removes, and with `overwrite` the old target or the new one, whole.

    Raises
    ------
    InputError
        `target` exists (also when it appeared meanwhile: the result is kept then, and the
        message says where), or its folder is missing.
    """
    target = Path(target)
    check_output(target, overwrite=overwrite)
    folder = tempfile.mkdtemp(_SUFFIX, _PREFIX, target.absolute().parent)
    fresh = Path(folder) / target.name  # the folder's name is short, whatever the target's
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        put_in_place(fresh, target, overwrite=overwrite)
    except FileExistsError as error:
        msg = f"output must not exist yet, got {target}, made meanwhile; the result is {fresh}"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"{error.strerror}; the result is {fresh}"
        raise OSError(error.errno, msg, str(target)) from error
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(target: str | Path) -> None:
    """Remove what killed writers of `target` left beside it; nobody else may be writing it."""
    target = Path(target).absolute()
    for folder in target.parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {target.name}:
            shutil.rmtree(folder, ignore_errors=True)
