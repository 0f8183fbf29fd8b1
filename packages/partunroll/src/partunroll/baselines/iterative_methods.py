"""ZeroFilled, ConjugateGradients and TotalVariation: the methods of `iterative`, with options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from normalfit.factor_file import open_factors
from partunroll.baselines.iterative import (
    CG_ITERATIONS,
    DEFAULT_RIDGE,
    DEFAULT_TV_WEIGHT,
    TV_ITERATIONS,
    cg_reconstruction,
    import_tv_denoiser,
    total_variation,
    zero_filled,
)
from partunroll.baselines.method_section import Candidates, MethodSection
from partunroll.errors import MismatchError

if TYPE_CHECKING:
    from rich.progress import Progress

    from normalfit.factors import Factors
    from partunroll.baselines.problem import Problem


class ZeroFilled(MethodSection):
    """The root of the sum of squares of the zero-filled coil images; MRI only."""

    needs_norm = needs_estimate = False

    kind: Literal["zero-filled"] = "zero-filled"

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:  # noqa: ARG002 - one step
        return zero_filled(problem.operator, problem.y)

    @property
    def keeps_phase(self) -> bool:
        return False


class ConjugateGradients(MethodSection):
    """Least squares with a ridge, stopped early; for MRI, CG-SENSE."""

    candidates: ClassVar[Candidates] = {"ridge": (0.0, 1e-3, 1e-2), "iterations": (5, 10, 20, 40)}
    needs_estimate = False

    kind: Literal["cg"] = "cg"
    ridge: float = Field(DEFAULT_RIDGE, ge=0)  # of the norm of A*A
    iterations: int = Field(CG_ITERATIONS, ge=1)
    factors: Path | None = None  # symmetric ones, of this operator, that precondition

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        factors = None if self.factors is None else _factors(self.factors, problem)
        return cg_reconstruction(
            problem.operator,
            problem.y,
            problem.norm,
            ridge=self.ridge,
            iterations=self.iterations,
            factors=factors,
            progress=progress,
        ).x


class TotalVariation(MethodSection):
    """Total variation by FISTA."""

    candidates: ClassVar[Candidates] = {"weight": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)}
    needs_estimate = False

    kind: Literal["tv"] = "tv"
    weight: float = Field(DEFAULT_TV_WEIGHT, ge=0)  # of the norm of A*A
    iterations: int = Field(TV_ITERATIONS, ge=1)

    def prepare(self, device: torch.device) -> None:
        del device
        import_tv_denoiser()

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        return total_variation(
            problem.operator,
            problem.y,
            problem.norm,
            weight=self.weight,
            iterations=self.iterations,
            progress=progress,
        )


def _factors(path: Path, problem: Problem) -> Factors:
    opened = open_factors(path)
    if problem.fingerprint not in (None, opened.fingerprint):
        msg = (
            f"factors must belong to the operator {problem.fingerprint}, got {path} fitted to "
            f"{opened.fingerprint}"
        )
        raise MismatchError(msg)
    return opened.load(problem.y.device)
