"""PlugAndPlay and DPIR: the methods of `plug_and_play` with their denoiser and their options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator

from partunroll.baselines.denoiser_files import load_denoiser
from partunroll.baselines.method_section import Candidates, MethodSection
from partunroll.baselines.plug_and_play import hqs, pnp_pgd
from partunroll.configuration.config_section import PatchShape, Section
from partunroll.network.volume_denoiser import VolumeDenoiser
from partunroll.store.source_stamp import source_stamp

if TYPE_CHECKING:
    from rich.progress import Progress

    from partunroll.baselines.denoiser_files import Denoise
    from partunroll.baselines.problem import Problem

Level = Annotated[float, Field(gt=0, lt=10)]
_PATCH = 96  # voxels per axis: about 0.5 GB for a DRUNet of 64 first channels; our choice


class DenoiserSection(Section):
    """A file of a denoiser, and the patches that it is applied to."""

    path: Path
    slice_axis: Literal[0, 1, 2] | None = None  # of a 2-D one on volumes; None: as trained, or 0
    patch_shape: PatchShape = _PATCH  # one number: a cube, cut where the volume is thinner
    overlap: int | None = Field(None, ge=0)  # None: a quarter of the shortest patch axis
    batch: int = Field(1, ge=1)

    def load(self, device: torch.device) -> VolumeDenoiser:
        """Return the denoiser of volumes; the last one read is kept while its file is the same."""
        stamp = tuple(source_stamp(self.path)) if self.path.exists() else ()
        loaded = _loaded(self.path, self.slice_axis, str(device), stamp)
        return VolumeDenoiser(loaded, self.patch_shape, self.overlap, self.batch)

    def __str__(self) -> str:
        """Return its file."""
        return str(self.path)


@lru_cache(maxsize=1)
def _loaded(path: Path, slice_axis: int | None, device: str, _stamp: tuple[str, ...]) -> Denoise:
    return load_denoiser(path, slice_axis=slice_axis, device=device)


def _with_path(denoiser: object) -> Any:  # noqa: ANN401 - what pydantic is to judge
    return denoiser if isinstance(denoiser, Mapping) else {"path": denoiser}


Denoiser = Annotated[DenoiserSection, BeforeValidator(_with_path)]


class PlugAndPlay(MethodSection):
    """Proximal gradient with a denoiser, in the paper's relaxed form."""

    candidates: ClassVar[Candidates] = {
        "noise_level": (0.01, 0.02, 0.05, 0.1),
        "relaxation": (0.1, 0.3, 1.0),
    }

    kind: Literal["pnp-pgd"] = "pnp-pgd"
    denoiser: Denoiser
    noise_level: Level = 0.05  # our choice
    step: float = Field(1.0, gt=0, lt=2)  # of the inverse of the norm of A*A; our choice
    relaxation: float = Field(0.5, ge=0, le=1)  # our choice
    iterations: int = Field(50, ge=1)  # our choice

    def prepare(self, device: torch.device) -> None:
        self.denoiser.load(device)

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        return pnp_pgd(
            problem,
            self.denoiser.load(problem.y.device),
            noise_level=self.noise_level,
            step=self.step,
            relaxation=self.relaxation,
            iterations=self.iterations,
            progress=progress,
        )


class DPIR(MethodSection):
    """Half-quadratic splitting with a denoiser of decreasing noise (Zhang et al. 2021)."""

    candidates: ClassVar[Candidates] = {
        "noise_levels": ((49 / 255, 0.01), (49 / 255, 0.03)),
        "regularization": (0.023, 0.23, 2.3),
    }

    kind: Literal["dpir"] = "dpir"
    denoiser: Denoiser
    # the first as Zhang et al.; the last should be that of the measurements' noise, our choice
    noise_levels: tuple[Level, Level] = (49 / 255, 0.01)
    regularization: float = Field(0.23, gt=0)  # Zhang et al.'s λ, in units where |A*A| is 1
    iterations: int = Field(8, ge=1)  # as Zhang et al.
    cg_iterations: int = Field(10, ge=1)  # our choice

    @model_validator(mode="after")
    def _decreasing(self) -> DPIR:
        first, last = self.noise_levels
        if last > first:
            msg = f"noise_levels must not increase, got {first:g} to {last:g}"
            raise ValueError(msg)
        return self

    def prepare(self, device: torch.device) -> None:
        self.denoiser.load(device)

    @torch.no_grad()
    def reconstruct(self, problem: Problem, *, progress: Progress | None = None) -> torch.Tensor:
        return hqs(
            problem,
            self.denoiser.load(problem.y.device),
            noise_levels=self.noise_levels,
            regularization=self.regularization,
            iterations=self.iterations,
            cg_iterations=self.cg_iterations,
            progress=progress,
        )
