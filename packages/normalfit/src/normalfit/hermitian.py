"""Kernels of self-adjoint convolutions: the reflection of lags, and projections onto them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.lag_grid import LagGrid

_ALTERNATIONS = 50  # of one kernel: less than a pass over the probes


def reflected(kernel: torch.Tensor, lags: Sequence[int]) -> torch.Tensor:
    """Return ``conj h(-τ)`` of kernels ``(..., *lags)``: those of the adjoint convolutions."""
    axes = tuple(range(-len(lags), 0))
    flipped = kernel.conj().resolve_conj().flip(axes)
    # an even axis has no lag +L/2: index L - i holds lag -(i - L/2), so roll by one
    even = [axis for axis in axes if lags[axis] % 2 == 0]
    return flipped.roll([1] * len(even), even) if even else flipped


def hermitian(kernel: torch.Tensor, grid: LagGrid) -> torch.Tensor:
    """Return the nearest kernels with ``h(-τ) = conj h(τ)``: an orthogonal projection."""
    return (kernel + reflected(kernel, grid.lags)) / 2


def positive_semidefinite(
    kernel: torch.Tensor, grid: LagGrid, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the Hermitian kernels nearest to `kernel` whose spectrum on `grid` is zero or more.

    Where the frequencies that are clamped are all that there is to it (no weight, and no lags
    that are cropped: every lag of a periodic grid) that is exact. Otherwise the two conditions
    are met in turn (alternating directions, 50 times), and lag zero is raised by what the last
    crop has made negative.

    Parameters
    ----------
    kernel
        ``(..., *lags)``.
    grid
        The lags.
    weight
        What a change of every entry costs, real and positive, as `kernel`; the same for τ and
        -τ. None: all the same.
    """
    half = not kernel.is_complex()
    target = hermitian(kernel, grid)
    axes = tuple(range(-len(grid.lags), 0))
    spectrum = grid.spectrum(target, half=half)
    if float(spectrum.real.amin()) >= 0:
        return target
    weight = torch.ones_like(target.real) if weight is None else weight
    balance = weight.mean(axes, keepdim=True)
    clamped, excess = _clamped(spectrum), torch.zeros_like(spectrum)
    result = target
    for _ in range(_ALTERNATIONS):
        pulled = grid.inverse_lags(clamped - excess, half=half)
        result = hermitian((weight * target + balance * pulled) / (weight + balance), grid)
        spectrum = grid.spectrum(result, half=half)
        clamped = _clamped(spectrum + excess)
        excess = excess + spectrum - clamped
    result = hermitian(grid.inverse_lags(clamped, half=half), grid)
    lowest = grid.spectrum(result, half=half).real.amin(axes, keepdim=True)
    centre = result
    for axis, length in zip(axes, grid.lags, strict=True):
        centre = centre.narrow(axis, length // 2, 1)
    centre -= lowest.clamp_max(0)
    return result


def _clamped(spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum.real.clamp_min(0).to(spectrum.dtype)
