"""RAMDenoiser: deepinv's Reconstruct Anything Model as a denoiser of slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OWN_WEIGHT = "fact_realign"  # a name that no other network's state dict has


class RAMDenoiser(nn.Module):
    """RAM (Terris et al. 2025) on images, or on the slices of volumes.

    Complex images are its two channels.

    Parameters
    ----------
    weights
        Its state dict; nothing is downloaded.
    path
        Where they were read, for messages.
    slice_axis
        Across the slices of volumes.

    Raises
    ------
    InputError
        Weights are missing, or have another shape.
    """

    def __init__(self, weights: Mapping[str, Any], path: Path, slice_axis: int = 0) -> None:
        super().__init__()
        from deepinv.models import RAM  # takes seconds to import

        self.model = RAM(pretrained=None)
        try:
            missing, _ = self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            missing = [" ".join(str(error).split())[:200]]
        if missing:
            msg = (
                f"denoiser must hold all weights of deepinv's RAM, got {path} without {missing[0]}"
            )
            raise InputError(msg)
        self._slice_axis = 1 + slice_axis

    def forward(self, x: torch.Tensor, noise_levels: torch.Tensor) -> torch.Tensor:
        """Return ``D_σ(x)`` of ``(batch, *p)`` with levels ``(batch,)``, p of two or three axes."""
        stacked = x.movedim(self._slice_axis, 1) if x.ndim == 4 else x[:, None]
        levels = noise_levels.repeat_interleave(stacked.shape[1])
        images = stacked.flatten(0, 1)
        if x.is_complex():
            channels = torch.view_as_real(images).movedim(-1, 1)
            result = self.model(channels, sigma=levels).movedim(1, -1).contiguous()
            denoised = torch.view_as_complex(result)
        else:
            denoised = self.model(images[:, None], sigma=levels)[:, 0]
        denoised = denoised.reshape(stacked.shape)
        return denoised.movedim(1, self._slice_axis) if x.ndim == 4 else denoised[:, 0]
