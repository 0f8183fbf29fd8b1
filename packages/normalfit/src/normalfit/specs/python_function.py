"""Spec of kind `python`: a function of the user's that returns an operator."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from normalfit.errors import InputError, NormalfitError, told
from normalfit.grid import Grid
from normalfit.specs.named_function import FunctionName, named_function
from normalfit.specs.operator_config import Attachments, OperatorConfig

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


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


class PythonFunctionSpec(OperatorConfig):
    """Name and arguments of a function ``f(**arguments) -> LinearOperator``.

    The fingerprint covers the name and the arguments, not what the function does.
    """

    kind: Literal["python"]
    function: FunctionName
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

        function = named_function(self.function, attachments.folder)
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
