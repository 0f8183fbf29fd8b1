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

import torch


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
    return noise / _positive(variance + noise / _positive(known + previous))


def apply_ridge(ridge: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Multiply every frequency of each image ``(terms, *shape)`` by its ridge."""
    return filtered(image, _spread_over_frequencies(ridge, image))


def mean_ridge(ridge: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the mean of a ridge over the frequencies, ``(terms,)``: what one voxel meets."""
    counts = torch.bincount(frequency_shells(shape).flatten()).to(ridge)
    return (ridge * (counts / counts.sum())).sum(1)


def whitened_inverse(
    ridge: torch.Tensor, information: torch.Tensor, image: torch.Tensor
) -> torch.Tensor:
    """Apply what is near the inverse of ``information + ridge``, for conjugate gradients.

    Exact where the ridge is the same for all frequencies, or the information for all voxels.

    Parameters
    ----------
    ridge
        ``(terms, shells)``, not zero where the information is.
    information
        Real, as `image`.
    image
        ``(terms, *shape)``.
    """
    over = _spread_over_frequencies(ridge, image)
    mean = _spread(mean_ridge(ridge, tuple(image.shape[1:])), image)
    known = _spread(information.flatten(1).mean(1), image)
    weight = (information + mean).rsqrt()
    return weight * filtered(weight * image, (known + mean) / (known + over))


def filtered(image: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    """Multiply the frequencies of ``(terms, *shape)`` by real ones, half of them if it is real."""
    axes = tuple(range(1, image.ndim))
    if image.is_complex():
        return torch.fft.ifftn(transfer * torch.fft.fftn(image, dim=axes), dim=axes)
    spectrum = transfer * torch.fft.rfftn(image, dim=axes)
    return torch.fft.irfftn(spectrum, s=image.shape[1:], dim=axes)


def _spread_over_frequencies(ridge: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    shells = frequency_shells(tuple(image.shape[1:])).to(ridge.device)
    if not image.is_complex():
        shells = shells[..., : image.shape[-1] // 2 + 1]
    return ridge[:, shells]


def _flat_shells(u: torch.Tensor) -> torch.Tensor:
    return frequency_shells(tuple(u.shape[1:])).to(u.device).flatten()


def _spread(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (image.ndim - 1))


def _positive(x: torch.Tensor) -> torch.Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny)
