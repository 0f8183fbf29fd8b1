"""named_function: a function of the user's that a YAML file names as ``module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from normalfit.errors import InputError, told

if TYPE_CHECKING:
    from types import ModuleType

_FUNCTION_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _of_the_user(function: str) -> str:
    """Refuse what is no name, and `os:system` and its like: specs travel in factor files."""
    if not _FUNCTION_NAME.fullmatch(function):
        msg = "must be module:function"
        raise ValueError(msg)
    module = function.partition(":")[0]
    if _is_pythons(module):
        msg = f"must be in a module of yours, {module} is one of Python's"
        raise ValueError(msg)
    return function


FunctionName = Annotated[str, AfterValidator(_of_the_user)]


def named_function(full_name: str, folder: Path | None) -> Callable[..., object]:
    """Import a module and return one of its functions; that runs the module's code.

    Parameters
    ----------
    full_name
        ``module:function``, a `FunctionName`.
    folder
        Where the name was read, or None. Modules are looked for among the installed ones, there
        and in the current folder, in this order.

    Raises
    ------
    InputError
        The module or the function is missing or cannot be imported.
    """
    module_name, _, name = full_name.partition(":")
    folders = [Path.cwd()] if folder is None else [folder.resolve(), Path.cwd()]
    module = _imported(module_name, folders)
    function = getattr(module, name, None)
    if not callable(function):
        msg = (
            f"function must be defined in its module, got {full_name}; {name!r} is "
            f"no function of {getattr(module, '__file__', module_name)}"
        )
        raise InputError(msg)
    plain = isinstance(function, FunctionType | BuiltinFunctionType | type)
    origin = (plain and function.__module__) or module_name
    if _is_pythons(origin):
        msg = f"function must be of yours, got {full_name}, which is Python's {origin}"
        raise InputError(msg)
    return function


def _is_pythons(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _imported(name: str, folders: list[Path]) -> ModuleType:
    """Import a module; the folders stay on Python's path, as the function may import later."""
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            msg = f"module {name} must be importable, got {told(error)}"
            raise InputError(msg) from error
        places = " and ".join(str(folder) for folder in folders)
        msg = f"function must name a module that exists, got {name}; looked in {places}"
        raise InputError(msg) from error
    except (Exception, SystemExit) as error:
        msg = f"module {name} must be importable, got {told(error)}"
        raise InputError(msg) from error
    _check_origin(name.partition(".")[0], folders[0])
    return module


def _check_origin(name: str, folder: Path) -> None:
    """Refuse a module of the same name from another place: it would be another operator."""
    beside = [p for p in (folder / name / "__init__.py", folder / f"{name}.py") if p.exists()]
    origin = getattr(sys.modules[name], "__file__", None)
    if beside and not (origin and beside[0].samefile(origin)):
        msg = (
            f"module {name} must be {beside[0]}, got {origin}; "
            "rename it: a module of this name is already loaded or installed"
        )
        raise InputError(msg)
