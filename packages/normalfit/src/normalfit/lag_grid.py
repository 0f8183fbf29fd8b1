"""LagGrid: which lags a kernel has on a grid, and convolution over them by pruned FFTs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from normalfit import fft
from normalfit.blocks import block_ranges, in_blocks
from normalfit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    _OnAxis = Callable[[torch.Tensor, int], torch.Tensor]

Boundary = Literal["periodic", "linear"]
MAX_ELEMENTS = 2**31  # cuFFT's 32-bit plans; larger ones have returned wrong values silently


@dataclass(frozen=True)
class LagGrid:
    """The lags of a convolution kernel on a grid, and how the grid ends.

    Entry ``i`` of a kernel axis with ``L`` entries is lag ``i - L // 2``. A periodic axis of n
    samples has all n residues (``L = n``) or a limited support of ``L = 2s + 1 < n`` lags. A
    linear axis, outside which everything is zero, has ``L = 2s + 1 <= 2n - 1`` lags.

    The first axis is transformed along lines that are neither padding nor thrown away, then the
    planes of the other axes are, block by block, so that they stay in the caches.

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
        The lags do not fit the grid; on transforming, `is_too_large`.
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
            n if end == "periodic" else fft.fast_length(n + length // 2)
            for n, length, end in zip(self.shape, self.lags, self.boundary, strict=True)
        )

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def is_too_large(self) -> bool:
        """Whether the padded grid has more elements than an FFT is trusted with, 2³¹."""
        return math.prod(self.fft_shape) > MAX_ELEMENTS

    def transform(self, x: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the spectrum of ``(..., *shape)`` padded with zeros to `fft_shape`.

        With `half` (`x` is real) one axis holds the non-negative frequencies only: the first that
        has more than one point, not the last as in `torch.fft.rfftn`.
        """
        return self._by_planes(self._planes, self._lines(x, half=half))

    def inverse(self, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return samples ``(..., *shape)`` of a spectrum from `transform`."""
        return self._inverse(self._samples, spectrum, half=half)

    def inverse_product(
        self, spectrum: torch.Tensor, factor: torch.Tensor, *, half: bool
    ) -> torch.Tensor:
        """Return `inverse` of a product that is never held as a whole.

        The axes before those of the grid broadcast.
        """
        return self._inverse(self._samples, spectrum, factor, half=half)

    def add_product(
        self, total: torch.Tensor, x: torch.Tensor, factor: torch.Tensor, *, half: bool
    ) -> None:
        """Add `transform` of `x` times `factor` to `total`; the product is never held as a whole.

        Each has one axis before those of the grid. There `x` and `factor` broadcast, and a
        `total` with one entry takes the sum.
        """
        lines, axis = self._lines(x, half=half), self._first_axis
        count = max(len(x), len(factor))
        points = count * math.prod(self._plane_shape)
        for start, entries in block_ranges(lines, axis=axis, points=points):
            block, part, sums = (t.narrow(axis, start, entries) for t in (lines, factor, total))
            if len(total) < count:
                sums.add_((self._planes(block) * part).sum(0, keepdim=True))
            else:
                sums.addcmul_(self._planes(block), part)

    def inverse_lags(self, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the lags ``(..., *lags)`` of a spectrum from `transform`."""
        return self._inverse(self._lags, spectrum, half=half)

    def spectrum(self, kernel: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return the spectrum of a kernel ``(..., *lags)``, laid out as that of `transform`."""

        def planes(lines: torch.Tensor) -> torch.Tensor:
            for axis in self._plane_axes:
                lines = self._placed(lines, axis)
            return self._planes(lines)

        return self._by_planes(planes, self._lines(kernel, half=half, place=self._placed))

    def convolve(self, x: torch.Tensor, spectrum: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Return ``crop(h ∗ x)``, shape ``(..., *shape)``, for a kernel's `spectrum`.

        It is `inverse` of `transform` times `spectrum`, but the padded spectrum of `x` is never
        held as a whole. The axes of `x` and `spectrum` before those of the grid broadcast.
        """

        def convolved(lines: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
            product = _multiplied(self._planes(lines), factor)
            return self._inverse_planes(self._samples, product)

        lines = self._lines(x, half=half)
        kept = self._by_planes(convolved, lines, spectrum, spare=lines)
        return self._inverse_lines(kept, self._samples, half=half)

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

    def _inverse(self, take: _OnAxis, *spectra: torch.Tensor, half: bool) -> torch.Tensor:
        kept = self._by_planes(lambda *planes: self._inverse_planes(take, *planes), *spectra)
        return self._inverse_lines(kept, take, half=half)

    def _lines(self, x: torch.Tensor, *, half: bool, place: _OnAxis | None = None) -> torch.Tensor:
        """Transform along the first axis, only lines that are not padding."""
        if self.is_too_large:
            msg = (
                f"padded grid must have at most 2^31 elements, got {self.fft_shape}; "
                "limit the lags, or use patches or slabs"
            )
            raise InputError(msg)
        axis, forward = self._first_axis, fft.rfft if half else fft.fft
        m = self.fft_shape[axis]
        return self._by_lines(
            lambda lines: forward(place(lines, axis) if place else lines, m, axis), x
        )

    def _inverse_lines(self, x: torch.Tensor, take: _OnAxis, *, half: bool) -> torch.Tensor:
        axis, inverse = self._first_axis, fft.irfft if half else fft.ifft
        m = self.fft_shape[axis]
        return self._by_lines(lambda lines: take(inverse(lines, m, axis), axis), x)

    def _planes(self, x: torch.Tensor) -> torch.Tensor:
        """Transform along the other axes.

        All lines of a plane, also those of zeros: MKL takes 0.075 s for the planes of 128³ padded
        to 256³, forth and back, but 0.105 s axis by axis without those lines.
        """
        return fft.fftn(x, self._plane_shape, self._plane_axes) if self._plane_axes else x

    def _inverse_planes(
        self, take: _OnAxis, x: torch.Tensor, factor: torch.Tensor | None = None
    ) -> torch.Tensor:
        if factor is not None:
            x = x * factor
        if self._plane_axes:
            x = fft.ifftn(x, self._plane_shape, self._plane_axes)
        for axis in self._plane_axes:
            x = take(x, axis)
        return x

    def _by_planes(
        self,
        function: Callable[..., torch.Tensor],
        *tensors: torch.Tensor,
        spare: torch.Tensor | None = None,
    ) -> torch.Tensor:
        axis = self._first_axis
        batch = np.broadcast_shapes(*[t.shape[:axis] for t in tensors])
        points = math.prod(batch) * math.prod(self._plane_shape)
        return in_blocks(function, tensors, axis=axis, points=points, spare=spare)

    def _by_lines(
        self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
    ) -> torch.Tensor:
        if not self._plane_axes:
            return function(x)
        first, axis = self._first_axis, self._plane_axes[0]
        lines = x.numel() // max(1, x.shape[first] * x.shape[axis])
        return in_blocks(function, (x,), axis=axis, points=lines * self.fft_shape[first])

    @cached_property
    def _first_axis(self) -> int:
        """The first axis with more than one point in the FFT: others before it change nothing."""
        axes = range(-self.num_axes, 0)
        return next((axis for axis in axes if self.fft_shape[axis] > 1), -1)

    @property
    def _plane_axes(self) -> tuple[int, ...]:
        return tuple(range(self._first_axis + 1, 0))

    @property
    def _plane_shape(self) -> tuple[int, ...]:
        return tuple(self.fft_shape[axis] for axis in self._plane_axes)

    def _samples(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        return x.narrow(axis, 0, self.shape[axis])

    def _lags(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        length, points = self.lags[axis], x.shape[axis]
        negative = length // 2
        parts = x.narrow(axis, points - negative, negative), x.narrow(axis, 0, length - negative)
        return torch.cat(parts, axis)

    def _placed(self, kernel: torch.Tensor, axis: int) -> torch.Tensor:
        """Place lag τ of an axis at point τ mod m of the FFT."""
        length, points = self.lags[axis], self.fft_shape[axis]
        negative, rest = length // 2, length - length // 2
        zeros = kernel.new_zeros(_resized(kernel.shape, axis, points - length))
        halves = kernel.narrow(axis, negative, rest), kernel.narrow(axis, 0, negative)
        return torch.cat((halves[0], zeros, halves[1]), axis)


def _multiplied(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return the product, in the memory of the temporary `x` where it fits."""
    fits = np.broadcast_shapes(x.shape, factor.shape) == x.shape
    fits = fits and torch.result_type(x, factor) == x.dtype
    return x.mul_(factor) if fits else x * factor


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
