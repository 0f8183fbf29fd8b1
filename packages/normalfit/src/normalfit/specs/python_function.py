"""Spec of kind `python`: a function of the user's that returns an operator."""

from __future__ import annotations

import copy
import importlib
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from normalfit.errors import InputError, NormalfitError, told
from normalfit.grid import Grid
from normalfit.specs.operator_config import Attachments, OperatorConfig

if TYPE_CHECKING:
    from types import ModuleType

    from normalfit.linear_operator import LinearOperator


_FUNCTION_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _plain_numbers(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse numbers that JSON cannot hold, or hold for every reader."""
    pending: list[Any] = list(arguments.values())
    while pending:
        value = pending.pop()
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or (isinstance(value, int) and abs(value) >= 2**64):
            msg = "must hold finite numbers, whole ones below 2^64"
            raise ValueError(msg)
        pending += value.values() if isinstance(value, dict) else []
        pending += value if isinstance(value, list) else []
    return arguments


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


def _is_pythons(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


class PythonFunctionSpec(OperatorConfig):
    """Name and arguments of a function ``f(**arguments) -> LinearOperator``.

    The fingerprint covers the name and the arguments, not what the function does.
    """

    kind: Literal["python"]
    function: Annotated[str, AfterValidator(_of_the_user)]
    arguments: Annotated[dict[str, JsonValue], AfterValidator(_plain_numbers)] = Field(
        default_factory=dict
    )

    def build(self, attachments: Attachments) -> LinearOperator:
        """Import the module and call the function.

        This runs the code that the spec names. Modules are looked for among the installed
        ones, beside the YAML file and in the current folder, in this order.

        Raises
        ------
        InputError
            The module or the function is missing, fails, or returns something else.
        """
        from normalfit.linear_operator import LinearOperator

        function = self._function(attachments.folder)
        try:
            operator = function(**copy.deepcopy(self.arguments))
        except NormalfitError:
            raise
        except (Exception, SystemExit) as error:
            msg = f"function {self.function} must return an operator, got {told(error)}"
            raise InputError(msg) from error
        if not isinstance(operator, LinearOperator):
            msg = (
                f"function {self.function} must return a normalfit LinearOperator, "
                f"got {type(operator).__name__}; wrap two callables in a FunctionOperator"
            )
            raise InputError(msg)
        for name in ("domain", "range"):
            if not isinstance(grid := getattr(operator, name, None), Grid):
                msg = f"{name} of {self.function}'s operator must be a Grid, got {grid!r}"
                raise InputError(msg)
        return operator

    def _function(self, folder: Path | None) -> Callable[..., object]:
        module_name, _, name = self.function.partition(":")
        folders = [Path.cwd()] if folder is None else [folder.resolve(), Path.cwd()]
        module = _imported(module_name, folders)
        function = getattr(module, name, None)
        if not callable(function):
            msg = (
                f"function must be defined in its module, got {self.function}; {name!r} is "
                f"no function of {getattr(module, '__file__', module_name)}"
            )
            raise InputError(msg)
        plain = isinstance(function, FunctionType | BuiltinFunctionType | type)
        origin = (plain and function.__module__) or module_name
        if _is_pythons(origin):
            msg = f"function must be of yours, got {self.function}, which is Python's {origin}"
            raise InputError(msg)
        return function


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
