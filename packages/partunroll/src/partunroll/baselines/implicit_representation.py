"""ImplicitRepresentation: a neural field fitted to the scan, as a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from partunroll.baselines.method_section import Candidates, MethodSection
from partunroll.configuration.config_section import Count, Section
from partunroll.errors import InputError
from partunroll.implicit.field_fit import FitSteps
from partunroll.implicit.implicit_reconstruction import (
    DenseEncoding,
    FieldOptions,
    HashEncoding,
    has_rays,
    implicit_reconstruction,
)

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from partunroll.baselines.problem import Problem


class HashGrid(Section):
    """A multiresolution hash grid (Müller et al. 2022), what is taken for rays."""

    kind: Literal["hash"] = "hash"
    levels: int = Field(8, ge=1, le=32)
    features: Count = 2  # per level
    coarsest: Count = 4  # cells of the first level along the longest side
    growth: float | None = Field(None, ge=1, le=8)  # None: one cell per voxel on the last level
    table_size_log2: int = Field(16, ge=1, le=30)  # of the rows of a level

    def encoding(self) -> HashEncoding:
        return HashEncoding(**self.model_dump(exclude={"kind"}))


class DenseGrid(Section):
    """One dense grid of latent features, what is taken for MRI and other operators."""

    kind: Literal["dense"] = "dense"
    features: Count = 8
    spacing: float = Field(1.0, gt=0)  # voxels between nodes

    def encoding(self) -> DenseEncoding:
        return DenseEncoding(**self.model_dump(exclude={"kind"}))


class ImplicitRepresentation(MethodSection):
    """Features on a grid and a small perceptron, fitted to one scan from nothing.

    Measurements and field are divided by the size of the initial estimate, so that the options
    mean the same for every scan. For a projector the fit meets random rays; for any other
    operator A of the whole volume, every iteration.
    """

    needs_norm: ClassVar[bool] = False
    candidates: ClassVar[Candidates] = {"tv_weight": (0.0, 1e-3, 1e-2)}

    kind: Literal["inr"] = "inr"
    encoding: Annotated[HashGrid | DenseGrid, Field(discriminator="kind")] | None = None
    forward_model: Literal["auto", "rays", "operator"] = "auto"
    width: Count = 32
    hidden_layers: int = Field(2, ge=0, le=16)
    iterations: Count = 1000
    rays: Count = 1024  # per iteration
    step: float = Field(1.0, gt=0)  # longest along a ray, in voxels
    learning_rate: float = Field(1e-2, gt=0)
    final_learning_rate: float = Field(0.1, gt=0, le=1)  # as a share of the first
    tv_weight: float = Field(0.0, ge=0)

    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        by_rays = self.forward_model != "operator" and has_rays(problem.operator)
        unread = [] if by_rays else sorted({"rays", "step"} & self.model_fields_set)
        if unread and self.forward_model != "rays":
            kind = type(problem.operator).__name__
            msg = f"{' and '.join(unread)} must be left out where no rays are drawn, got {kind}"
            raise InputError(msg)
        encoding = self.encoding or (HashGrid() if by_rays else DenseGrid())
        options = FieldOptions(
            encoding.encoding(),
            width=self.width,
            hidden_layers=self.hidden_layers,
            forward_model=self.forward_model,
            rays=self.rays,
            step=self.step,
            tv_weight=self.tv_weight,
        )
        steps = FitSteps(self.iterations, self.learning_rate, self.final_learning_rate)
        return implicit_reconstruction(
            problem.operator,
            problem.y,
            problem.initial_estimate,
            options,
            steps,
            seed=problem.seed,
            progress=progress,
        ).x
