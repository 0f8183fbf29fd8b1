"""VolumeDenoiser: a denoiser of patches as one of volumes of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from partunroll.patches.blended_patches import blend_patches, extract, overlapping_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.grid import Patch
    from partunroll.patches.blended_patches import Overlap


@dataclass(frozen=True, eq=False)
class VolumeDenoiser:
    """``D_σ`` of a volume, overlapping patch by overlapping patch, blended.

    Parameters
    ----------
    denoise
        Maps noisy patches ``(batch, *p)`` and their levels σ, ``(batch,)``, to denoised ones.
    patch_shape, overlap
        As for `overlapping_windows`; a volume that is no larger than a patch is denoised whole.
    batch
        Patches that are denoised together.
    """

    denoise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    patch_shape: int | tuple[int, ...]
    overlap: Overlap = None
    batch: int = 1

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, noise_level: float) -> torch.Tensor:
        """Return ``D_σ(x)`` of ``(*domain)``, whose noise has the standard deviation σ.

        Raises
        ------
        InputError
            Patches do not fit into the volume, or the denoiser takes no such patches.
        """
        windows = overlapping_windows(tuple(x.shape), self.patch_shape, self.overlap)

        def solve(patches: Sequence[Patch]) -> torch.Tensor:
            levels = x.new_full((len(patches),), noise_level, dtype=torch.float32)
            return self.denoise(extract(x, patches), levels).to(x.dtype)

        return blend_patches(solve, windows, x, self.batch)
