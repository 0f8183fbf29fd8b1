"""How many planes a slab of factors may have, by what it takes in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from normalfit import fft
from normalfit.errors import InputError
from normalfit.lag_grid import MAX_ELEMENTS

if TYPE_CHECKING:
    from normalfit.lag_kernel import LagKernel

_BLOCK_BYTES = 2**24  # that `LagGrid` works in beside its arrays


def support(kernel: LagKernel) -> int:
    """Return the largest lag along the first axis: planes that a slab reads on either side."""
    return kernel.lags[0] // 2


def slab_bytes(kernel: LagKernel, terms: int, points: int) -> int:
    """Return about what a slab takes whose FFT has so many points along the first axis."""
    itemsize = kernel.values.element_size()
    samples, padded = math.prod(kernel.shape[1:]), math.prod(kernel.grid.fft_shape[1:])
    # region, argument, spectrum, products and sum; u and v; the kernels' spectra, half if real
    images = 6 + 2 * terms
    return _BLOCK_BYTES + points * itemsize * (images * samples + kernel.terms * padded)


def least_bytes(kernel: LagKernel, terms: int) -> int:
    """Return about what the thinnest slab takes, of one plane and its halo."""
    points = fft.fast_length(2 * support(kernel) + 1)
    return slab_bytes(kernel, terms, min(kernel.grid.fft_shape[0], points))


def most_planes(kernel: LagKernel, terms: int, max_bytes: int) -> int:
    """Return the planes of the result of the largest slab that fits into `max_bytes`.

    Raises
    ------
    InputError
        Not even one plane does.
    """
    halo, whole = 2 * support(kernel), kernel.grid.fft_shape[0]
    if not kernel.grid.is_too_large and slab_bytes(kernel, terms, whole) <= max_bytes:
        return kernel.shape[0]
    plane = math.prod(kernel.grid.fft_shape[1:])
    fitting = [
        points
        for points in range(halo + 1, min(whole, MAX_ELEMENTS // plane + 1))
        if fft.fast_length(points) == points and slab_bytes(kernel, terms, points) <= max_bytes
    ]
    if not fitting:
        needed = least_bytes(kernel, terms)
        msg = (
            f"max_bytes must be at least {needed} for a slab of kernels with "
            f"{kernel.lags[0]} lags, got {max_bytes}; allow more, or fit fewer lags"
        )
        raise InputError(msg)
    return fitting[-1] - halo
