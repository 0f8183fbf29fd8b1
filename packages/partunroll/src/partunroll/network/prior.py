"""DRUNetPrior: the learned ``D``, deepinv's DRUNet on patches of any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from partunroll.configuration.network_config import FRESH_WEIGHTS, PriorConfig
from partunroll.errors import InputError
from partunroll.network.local_phase import local_phase
from partunroll.network.prior_initialization import initialize_prior

if TYPE_CHECKING:
    from partunroll.configuration.network_config import DRUNetConfig

_MULTIPLE = 8  # DRUNet halves three times
SMALLEST_AXIS = 32  # below it, and off multiples of 8, DRUNet pads or splits (or raises) on its own


class DRUNetPrior(nn.Module):
    """DRUNet with a fixed or a given noise-level input, ``(batch, *p)`` to ``(batch, *p)``.

    A 2-D prior on volumes treats the slices across one axis as a batch. A prior of two channels
    takes complex patches, as real and imaginary part; where it demodulates, ``D(x) = p D'(x / p)``
    with the local phase p of x, so that D' sees nearly real images whatever the coils' phase.

    Parameters
    ----------
    config
        Dimension, sizes, noise level and whether ``D(x) = x + DRUNet(x)``; without a noise level
        each call must be told one.

    Raises
    ------
    InputError
        The dimension of the prior is not set.
    """

    def __init__(self, config: DRUNetConfig) -> None:
        super().__init__()
        if config.dim is None:
            msg = "dim of the prior must be 2 or 3, got None; resolve the config for a grid first"
            raise InputError(msg)
        self.dim, self.channels = config.dim, config.channels or 1
        self.residual = config.residual
        self.noise_level = config.noise_level if isinstance(config, PriorConfig) else None
        self._demodulates = config.demodulate
        self._slice_axis = 1 + (config.slice_axis or 0)
        last = torch.channels_last if config.dim == 2 else torch.channels_last_3d
        self._layout = last if config.channels_last else torch.contiguous_format
        self.drunet = _drunet(config, config.dim).to(memory_format=self._layout)

    def forward(self, x: torch.Tensor, noise_levels: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``D(x)`` for x of shape ``(batch, *p)``, p with `dim` axes or one more.

        Parameters
        ----------
        x
            The patches.
        noise_levels
            Noise-level input of every patch, ``(batch,)``; None: the fixed one.

        Raises
        ------
        InputError
            There is no noise level, `x` has another number of axes, or is complex for a prior of
            one channel, or real for one of two.
        """
        slices = self.dim == 2 and x.ndim == 4
        if x.ndim != self.dim + 1 and not slices:
            msg = f"x must have shape (batch, *p) for a {self.dim}-D prior, got {tuple(x.shape)}"
            raise InputError(msg)
        if x.is_complex() != (self.channels == 2):
            msg = f"x must be {'complex' if self.channels == 2 else 'real'} for a prior of "
            raise InputError(msg + f"{self.channels} channels, got {x.dtype}")
        level = self.noise_level if noise_levels is None else noise_levels
        if level is None:
            msg = "noise_levels must be given for a prior without a level of its own, got none"
            raise InputError(msg)
        if slices:
            stacked = x.movedim(self._slice_axis, 1)
            if isinstance(level, torch.Tensor):
                level = level.repeat_interleave(stacked.shape[1])
            result = self._images(stacked.flatten(0, 1), level).reshape(stacked.shape)
            result = result.movedim(1, self._slice_axis)
        else:
            result = self._images(x, level)
        return x + result if self.residual else result

    def _images(self, x: torch.Tensor, level: torch.Tensor | float) -> torch.Tensor:
        """Return ``DRUNet(x)`` of ``(count, *p)``, p with `dim` axes."""
        phase = local_phase(x) if self._demodulates else None
        images = _channels_first(x if phase is None else x * phase.conj())
        padded = F.pad(_paired(images), _padding(images.shape[2:]), mode="replicate")
        if isinstance(level, torch.Tensor):
            level = level.expand(len(padded))
        result = self.drunet(padded.to(memory_format=self._layout), level)
        result = result[(slice(len(images)), slice(None), *(slice(n) for n in images.shape[2:]))]
        if x.is_complex():
            complex_ = torch.view_as_complex(result.movedim(1, -1).contiguous().float())
            return complex_ if phase is None else complex_ * phase
        return result[:, 0]


def _drunet(config: DRUNetConfig, dim: int) -> nn.Module:
    from deepinv.models import DRUNet  # takes seconds to import

    # pretrained must be None: the default downloads weights
    channels = config.channels or 1
    drunet = DRUNet(
        channels, channels, nc=config.widths, nb=config.blocks, pretrained=None, dim=dim
    )
    if (config.fresh_weights or FRESH_WEIGHTS[dim]) == "balanced":
        initialize_prior(drunet)
    return drunet


def _channels_first(images: torch.Tensor) -> torch.Tensor:
    """Return ``(count, 1 or 2, *p)``, real, of images ``(count, *p)``."""
    if not images.is_complex():
        return images[:, None]
    return torch.view_as_real(images.resolve_conj()).movedim(-1, 1)


def _paired(images: torch.Tensor) -> torch.Tensor:
    """Return a lone volume on the CPU twice: torch's path for a batch of one is the slow one.

    Its fast convolutions want a batch above one, or large layers; 48³, widths 8 … 64: 0.97 s
    for one volume, 0.17 s for two.
    """
    slow = images.ndim == 5 and len(images) == 1 and images.device.type == "cpu"
    return images.expand(2, *images.shape[1:]) if slow else images


def _padding(shape: torch.Size) -> list[int]:
    """Return `pad`'s amounts, last axis first, all of them at the ends."""
    amounts = []
    for n in reversed(shape):
        amounts += [0, max(SMALLEST_AXIS, -(-n // _MULTIPLE) * _MULTIPLE) - n]
    return amounts
