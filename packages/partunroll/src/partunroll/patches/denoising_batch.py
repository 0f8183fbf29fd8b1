"""DenoisingBatch: patches and the same with Gaussian noise, for one training step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from partunroll.patches.patch_batch import PatchBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.grid import Patch
    from partunroll.patches.patch_symmetry import PatchSymmetry


@dataclass(frozen=True, eq=False)
class DenoisingBatch:
    """A batch of patches to denoise.

    Parameters
    ----------
    step, operator, samples, patches
        As for `PatchBatch`; the operator measured the samples and plays no part.
    noisy, truth
        ``x* + σ n`` and ``x*``, each ``(batch, *p)``.
    noise_levels
        σ of every patch, ``(batch,)``.
    """

    step: int
    operator: str
    samples: tuple[str, ...]
    patches: tuple[Patch, ...]
    noisy: torch.Tensor
    truth: torch.Tensor
    noise_levels: torch.Tensor

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network is called with."""
        return self.noisy, self.noise_levels

    def to(self, device: torch.device) -> DenoisingBatch:
        """Return the batch on another device."""
        return replace(
            self,
            noisy=self.noisy.to(device),
            truth=self.truth.to(device),
            noise_levels=self.noise_levels.to(device),
        )

    def transformed(self, symmetry: PatchSymmetry) -> DenoisingBatch:
        """Return the batch turned and mirrored."""
        return replace(self, noisy=symmetry(self.noisy), truth=symmetry(self.truth))


TrainingBatch = PatchBatch | DenoisingBatch


def add_noise(
    truth: torch.Tensor, levels: tuple[float, float], seeds: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy patches and their noise levels, σ drawn uniformly from a range.

    Drawn on the CPU, so that every device has the same noise. σ is the standard deviation of the
    real and of the imaginary part each.

    Parameters
    ----------
    truth
        ``(batch, *p)``.
    levels
        The lowest and the highest σ.
    seeds
        Of the random numbers of every patch.
    """
    drawn, noise = [], []
    for seed in seeds:
        rng = np.random.default_rng(list(seed))
        drawn.append(rng.uniform(*levels))
        noise.append(gaussian_noise(rng, tuple(truth.shape[1:]), is_complex=truth.is_complex()))
    sigma = torch.tensor(drawn, dtype=torch.float32, device=truth.device)
    scales = sigma.reshape(-1, *[1] * (truth.ndim - 1))
    return truth + scales * torch.stack(noise).to(truth.device), sigma


def gaussian_noise(
    rng: np.random.Generator, shape: tuple[int, ...], *, is_complex: bool
) -> torch.Tensor:
    """Return noise whose real numbers have standard deviation 1, float32 or complex64."""
    parts = rng.standard_normal((*shape, 1 + is_complex), dtype=np.float32)
    values = torch.from_numpy(parts)
    return torch.view_as_complex(values) if is_complex else values[..., 0]
