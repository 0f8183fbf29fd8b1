"""LagGrid: which lags a kernel has on a grid, and convolution over them by pruned FFTs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from normalfit import fft
from normalfit.errors import InputError

Boundary = Literal["periodic", "linear"]
_MAX_ELEMENTS = 2**31  # cuFFT's 32-bit plans; larger ones have returned wrong values silently


@dataclass(frozen=True)
class LagGrid:
    """The lags of a convolution kernel on a grid, and how the grid ends.

    Entry ``i`` of a kernel axis with ``L`` entries is lag ``i - L // 2``. A periodic axis of n
    samples has all n residues (``L = n``) or a limited support of ``L = 2s + 1 < n`` lags. A
    linear axis, outside which everything is zero, has ``L = 2s + 1 <= 2n - 1`` lags.

    The transforms run axis by axis and only along lines that are neither zero nor thrown away.

    Parameters
    ----------
    shape
        Samples per axis of the grid.
    lags
        Lags per axis of the kernel.
    boundary
        'periodic' or 'linear' per axis.

    Raises
    ------
    InputError
        The lags do not fit the grid, or the padded grid has more than 2³¹ elements.
    """

    shape: tuple[int, ...]
    lags: tuple[int, ...]
    boundary: tuple[Boundary, ...]

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.lags) == len(self.boundary):
            msg = (
                f"shape, lags and boundary must have one entry per axis, "
                f"got {self.shape}, {self.lags}, {self.boundary}"
            )
            raise InputError(msg)
        for n, length, boundary in zip(self.shape, self.lags, self.boundary, strict=True):
            _check_axis(n, length, boundary)
        if math.prod(self.fft_shape) > _MAX_ELEMENTS:
            msg = (
                f"padded grid must have at most 2^31 elements, got {self.fft_shape}; "
                "limit the lags or use patches"
            )
            raise InputError(msg)

    @classmethod
    def full(cls, shape: tuple[int, ...], boundary: tuple[Boundary, ...]) -> LagGrid:
        """Return the grid with every lag that two samples of `shape` can have."""
        lags = [
            n if end == "periodic" else 2 * n - 1 for n, end in zip(shape, boundary, strict=True)
        ]
        return cls(tuple(shape), tuple(lags), tuple(boundary))

    @cached_property
    def fft_shape(self) -> tuple[int, ...]:
        """Points of the FFTs: n on periodic axes, at least n + s on linear ones.

        n + s points suffice: an alias of a lag that two samples can have is m - (n - 1) > s
        away from zero, outside the support.
        """
        return tuple(
            n if end == "periodic" else fft.next_smooth(n + length // 2)
            for n, length, end in zip(self.shape, self.lags, self.boundary, strict=True)
        )

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def transform(self, x: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the spectrum of ``(..., *shape)`` padded with zeros to `fft_shape`.

        With `half` the last axis holds the non-negative frequencies only (`x` is real).
        """
        m = self.fft_shape
        x = fft.rfft(x, m[-1], -1) if half else fft.fft(x, m[-1], -1)
        for axis in range(-2, -self.num_axes - 1, -1):
            x = fft.fft(x, m[axis], axis)
        return x

    def inverse(self, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return samples ``(..., *shape)`` of a spectrum on `fft_shape`."""
        kept = [torch.arange(n) for n in self.shape]
        return self._inverse(spectrum, kept, half=half)

    def inverse_lags(self, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the lags ``(..., *lags)`` of a spectrum on `fft_shape`."""
        kept = [
            (torch.arange(length) - length // 2) % m
            for length, m in zip(self.lags, self.fft_shape, strict=True)
        ]
        return self._inverse(spectrum, kept, half=half)

    def spectrum(self, kernel: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the spectrum of a kernel ``(..., *lags)`` on `fft_shape`."""
        m = self.fft_shape
        for axis in range(-1, -self.num_axes - 1, -1):
            length = self.lags[axis]
            padded = kernel.new_zeros(_resized(kernel.shape, axis, m[axis]))
            padded.narrow(axis, 0, length).copy_(kernel)
            placed = torch.roll(padded, -(length // 2), axis)
            real = half and axis == -1
            kernel = fft.rfft(placed, m[axis], axis) if real else fft.fft(placed, m[axis], axis)
        return kernel

    def convolve(self, x: torch.Tensor, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return ``crop(h ∗ x)``, shape ``(..., *shape)``, for a kernel's `spectrum`."""
        return self.inverse(self.transform(x, half=half) * spectrum, half=half)

    def correlate(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return ``Σ_n conj(x[n-τ]) y[n]`` for every lag τ, shape ``(..., *lags)``.

        It is the adjoint of ``h -> crop(h ∗ x)``, applied to `y`.
        """
        half = not (x.is_complex() or y.is_complex())
        product = self.transform(x, half=half).conj() * self.transform(y, half=half)
        return self.inverse_lags(product, half=half)

    def overlap_counts(self) -> torch.Tensor:
        """Return for every lag τ the number of samples n with n and n-τ on the grid, float64."""
        counts = torch.ones((), dtype=torch.float64)
        for n, length, end in zip(self.shape, self.lags, self.boundary, strict=True):
            lag = (torch.arange(length, dtype=torch.float64) - length // 2).abs()
            axis_counts = torch.full_like(lag, n) if end == "periodic" else n - lag
            counts = counts[..., None] * axis_counts
        return counts

    def _inverse(
        self, spectrum: torch.Tensor, kept: list[torch.Tensor], *, half: bool
    ) -> torch.Tensor:
        m = self.fft_shape
        for axis in range(-self.num_axes, -1):
            spectrum = _take(fft.ifft(spectrum, m[axis], axis), kept[axis], axis)
        last = fft.irfft(spectrum, m[-1], -1) if half else fft.ifft(spectrum, m[-1], -1)
        return _take(last, kept[-1], -1)


def _take(x: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    """Keep the entries `index` of an axis; a view where they are its first ones, in order."""
    if bool((index == torch.arange(index.numel())).all()):
        return x.narrow(axis, 0, index.numel())
    return x.index_select(axis, index.to(x.device))


def _resized(shape: torch.Size, axis: int, length: int) -> list[int]:
    resized = list(shape)
    resized[axis] = length
    return resized


def _check_axis(n: int, length: int, boundary: str) -> None:
    if boundary not in ("periodic", "linear"):
        msg = f"boundary must be 'periodic' or 'linear', got {boundary!r}"
        raise InputError(msg)
    odd = length % 2 == 1
    if boundary == "linear":
        fits, allowed = odd and 1 <= length <= 2 * n - 1, f"odd and at most {2 * n - 1}"
    else:
        fits, allowed = length == n or (odd and 1 <= length < n), f"{n}, or odd below it"
    if not fits:
        msg = f"number of lags must be {allowed} on a {boundary} axis of {n}, got {length}"
        raise InputError(msg)
