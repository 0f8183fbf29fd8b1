"""The ridge of the diagonals: how much they vary at every frequency, as the fit itself finds.

Diagonals are mostly smooth, and some are not at all (a mask). Taken as a stationary Gaussian
random field around its mean, a diagonal has a variance at every frequency; shells of frequencies
share one. As for kernels (`shrinkage`) it is that of the last estimate plus that which this
estimate has itself, and the ridge is the noise over it.

Measured, held-out error, against one ridge for all frequencies: cone beam 24³, 30 views, one D C
term, 16 probes, 0.375 instead of 0.381; the default model 0.373 instead of 0.388 with 16 probes,
0.261 (three terms) instead of 0.285 (two) with 64. Fan beam 128²: no difference.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from normalfit.positive import positive
from normalfit.term_values import spread_over_image

if TYPE_CHECKING:
    from collections.abc import Callable


@lru_cache(maxsize=8)
def frequency_shells(shape: tuple[int, ...]) -> torch.Tensor:
    """Return the shell of every frequency of an FFT over `shape`, int64 ``(*shape)``.

    Shells are one frequency of the longest axis wide; shell zero holds all up to the first.
    """
    squared = torch.zeros(())
    for n in shape:
        squared = squared[..., None] + (torch.fft.fftfreq(n).double() * max(shape)) ** 2
    return squared.sqrt().round().long().clamp_min(1) - 1


def no_ridge(like: torch.Tensor, terms: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the ridge of diagonals that have not been estimated: zeros, ``(terms, shells)``."""
    return like.real.new_zeros(terms, int(frequency_shells(shape).max()) + 1)


def diagonal_ridge(
    u: torch.Tensor, information: torch.Tensor, previous: torch.Tensor, noise: float
) -> torch.Tensor:
    """Return the ridge of each diagonal's deviation from its mean, ``(terms, shells)``.

    Parameters
    ----------
    u
        Diagonals ``(terms, *shape)`` of the last sweep.
    information
        Diagonal of the normal equations of each voxel, as `u`.
    previous
        The ridge with which `u` was estimated, ``(terms, shells)``.
    noise
        Variance σ² of the residual per voxel.
    """
    axes = tuple(range(1, u.ndim))
    shells = _flat_shells(u)
    deviation = u - u.mean(axes, keepdim=True)
    power = torch.fft.fftn(deviation, dim=axes, norm="ortho").abs().square().flatten(1)
    total = torch.zeros(previous.shape, dtype=torch.float64, device=u.device)
    total.index_add_(1, shells, power.double())
    variance = (total / torch.bincount(shells)).to(previous.dtype)
    known = information.flatten(1).mean(1, keepdim=True)
    return noise / positive(variance + noise / positive(known + previous))


def apply_ridge(ridge: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Multiply every frequency of each image ``(terms, *shape)`` by its ridge."""
    half = not image.is_complex()
    return filtered(image, _spread_over_frequencies(ridge, image.shape[1:], half=half))


def mean_ridge(ridge: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the mean of a ridge over the frequencies, ``(terms,)``: what one voxel meets."""
    counts = torch.bincount(frequency_shells(shape).flatten()).to(ridge)
    return (ridge * (counts / counts.sum())).sum(1)


def whitened_inverse(
    ridge: torch.Tensor, information: torch.Tensor, *, half: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what is near the inverse of ``information + ridge``, for conjugate gradients.

    Exact where the ridge is the same for all frequencies, or the information for all voxels.

    Parameters
    ----------
    ridge
        ``(terms, shells)``, not zero where the information is.
    information
        Real, ``(terms, *shape)``, as the images that the result applies to.
    half
        Whether those are real, so that half of their frequencies will do.
    """
    shape = tuple(information.shape[1:])
    over = _spread_over_frequencies(ridge, shape, half=half)
    mean = spread_over_image(mean_ridge(ridge, shape), information)
    known = spread_over_image(information.flatten(1).mean(1), information)
    weight, transfer = (information + mean).rsqrt(), (known + mean) / (known + over)
    return lambda image: weight * filtered(weight * image, transfer)


def filtered(image: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    """Multiply the frequencies of ``(terms, *shape)`` by real ones, half of them if it is real."""
    axes = tuple(range(1, image.ndim))
    if image.is_complex():
        return torch.fft.ifftn(transfer * torch.fft.fftn(image, dim=axes), dim=axes)
    spectrum = transfer * torch.fft.rfftn(image, dim=axes)
    return torch.fft.irfftn(spectrum, s=image.shape[1:], dim=axes)


def _spread_over_frequencies(
    ridge: torch.Tensor, shape: tuple[int, ...], *, half: bool
) -> torch.Tensor:
    shells = frequency_shells(tuple(shape)).to(ridge.device)
    if half:
        shells = shells[..., : shape[-1] // 2 + 1]
    return ridge[:, shells]


def _flat_shells(u: torch.Tensor) -> torch.Tensor:
    return frequency_shells(tuple(u.shape[1:])).to(u.device).flatten()
