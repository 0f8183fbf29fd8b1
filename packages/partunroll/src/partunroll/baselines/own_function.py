"""OwnFunction: a function ``(A, y, **options) -> x`` of the user's, as a baseline."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, JsonValue

from normalfit.errors import NormalfitError, told
from normalfit.specs.named_function import FunctionName, named_function
from partunroll.baselines.method_section import MethodSection
from partunroll.errors import InputError, PartunrollError

if TYPE_CHECKING:
    from rich.progress import Progress

    from partunroll.baselines.problem import Problem


class OwnFunction(MethodSection):
    """A function of the user's, in an installed module or one of the current folder."""

    needs_norm = needs_estimate = False

    kind: Literal["function"] = "function"
    function: FunctionName  # "package.module:name"
    options: dict[str, JsonValue] = Field(default_factory=dict)

    def prepare(self, device: torch.device) -> None:
        del device
        named_function(self.function, None)

    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:  # noqa: ARG002 - the function has its own
        """Call the function; this runs the code that the document names."""
        function = named_function(self.function, None)
        try:
            with torch.enable_grad():  # it may fit something, whoever calls
                x = function(problem.operator, problem.y, **copy.deepcopy(self.options))
        except (NormalfitError, PartunrollError):
            raise
        except (Exception, SystemExit) as error:
            msg = f"function {self.function} must return a volume, got {told(error)}"
            raise InputError(msg) from error
        shape = problem.operator.domain.shape
        if not isinstance(x, torch.Tensor) or tuple(x.shape) != shape:
            got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            msg = f"function {self.function} must return a tensor of shape {shape}, got {got}"
            raise InputError(msg)
        return x.detach()
