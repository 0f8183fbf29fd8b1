"""FilteredBackprojection: FDK of a cone beam, FBP of a parallel beam, as a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from partunroll.baselines.method_section import Candidates, MethodSection
from partunroll.initial.initial_estimate import initial_estimate
from partunroll.initial.ramp_filter import WINDOWS

if TYPE_CHECKING:
    from rich.progress import Progress

    from partunroll.baselines.problem import Problem


class FilteredBackprojection(MethodSection):
    """The initial estimate of tomography, with a window of its own; refused for MRI."""

    candidates: ClassVar[Candidates] = {"window": tuple(WINDOWS), "cutoff": (1.0, 0.8, 0.6, 0.45)}
    needs_norm = needs_estimate = False

    kind: Literal["fdk"] = "fdk"
    window: Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"] = "hann"
    cutoff: float = Field(1.0, gt=0, le=1)  # of the Nyquist frequency

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:  # noqa: ARG002 - one step
        return initial_estimate(problem.operator, problem.y, self.window, "fdk", self.cutoff)
