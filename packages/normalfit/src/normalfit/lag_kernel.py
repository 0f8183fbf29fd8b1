"""LagKernel: convolution kernels in the lag domain, with their spectra kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from normalfit.errors import InputError
from normalfit.hermitian import reflected
from normalfit.lag_grid import Boundary, LagGrid


@dataclass(frozen=True, eq=False)
class LagKernel:
    """Kernels ``h_k`` over lags on a grid.

    The kernel is kept in the lag domain, where a real operator has a real kernel: a free
    half-spectrum need not be Hermitian, and then `irfftn` differs between CPU and GPU
    (pytorch issue 154496).

    Parameters
    ----------
    values
        ``(..., terms, *lags)``; entry ``i`` of an axis with L entries is lag ``i - L // 2``.
    shape
        Samples per axis of the grid.
    boundary
        'periodic' or 'linear' per axis.

    Raises
    ------
    InputError
        The lags do not fit the grid, or an axis is missing.
    """

    values: torch.Tensor
    shape: tuple[int, ...]
    boundary: tuple[Boundary, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "boundary", tuple(self.boundary))
        if self.values.ndim <= len(self.shape):
            msg = (
                f"kernel must have the trailing axes (terms, *lags) on a grid {self.shape}, "
                f"got shape {tuple(self.values.shape)}"
            )
            raise InputError(msg)
        _ = self.grid  # refuses lags that do not fit

    @cached_property
    def grid(self) -> LagGrid:
        """The lags and the grid."""
        return LagGrid(self.shape, tuple(self.values.shape[-len(self.shape) :]), self.boundary)

    @property
    def lags(self) -> tuple[int, ...]:
        """Lags per axis."""
        return self.grid.lags

    @property
    def terms(self) -> int:
        """Number of kernels."""
        return self.values.shape[-len(self.shape) - 1]

    @cached_property
    def half_spectrum(self) -> torch.Tensor:
        """Spectrum for real inputs: non-negative frequencies on the last axis."""
        return self.grid.spectrum(self.values, half=True)

    @cached_property
    def full_spectrum(self) -> torch.Tensor:
        """Spectrum for complex inputs."""
        return self.grid.spectrum(self.values, half=False)

    @cached_property
    def adjoint(self) -> LagKernel:
        """The kernel ``conj h(-τ)``."""
        return replace(self, values=reflected(self.values, self.lags))

    def restricted(self, patch_shape: tuple[int, ...]) -> LagKernel:
        """Return the kernel that a patch of `patch_shape` meets (design eq. 2), kept per shape.

        A patch of p voxels only meets lags -(p-1)…p-1. A restricted axis is linear, unless the
        patch is the whole axis.
        """
        kept = self._restrictions
        if patch_shape not in kept:
            kept[patch_shape] = self._restrict(patch_shape)
        return kept[patch_shape]

    def selected(self, terms: torch.Tensor) -> LagKernel:
        """Return the kernels of the terms with these indices, int64; their spectra stay kept."""
        axis = -len(self.shape) - 1
        result = replace(self, values=self.values.index_select(axis, terms))
        for name in ("half_spectrum", "full_spectrum"):
            if name in self.__dict__:
                spectrum = self.__dict__[name].index_select(axis, terms)
                object.__setattr__(result, name, spectrum)
        return result

    def scaled(self, factor: float) -> LagKernel:
        """Return the kernel times `factor`."""
        return replace(self, values=self.values * factor)

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> LagKernel:
        """Return the kernel on another device or in another dtype."""
        return replace(self, values=self.values.to(device=device, dtype=dtype))

    @cached_property
    def _restrictions(self) -> dict[tuple[int, ...], LagKernel]:
        return {}

    def _restrict(self, patch_shape: tuple[int, ...]) -> LagKernel:
        values = self.values
        boundary: list[Boundary] = []
        for axis, p in zip(range(-len(patch_shape), 0), patch_shape, strict=True):
            n, end = self.shape[axis], self.boundary[axis]
            if p == n:
                boundary.append(end)
                continue
            boundary.append("linear")
            wraps = end == "periodic" and p - 1 >= n - self.lags[axis] // 2
            values = _wrapped_lags(values, axis, p, n) if wraps else _central_lags(values, axis, p)
        return LagKernel(values.contiguous(), patch_shape, tuple(boundary))


def _central_lags(values: torch.Tensor, axis: int, p: int) -> torch.Tensor:
    """Keep lags -(p-1)…p-1 of one axis, as far as the kernel's support goes."""
    centre = values.shape[axis] // 2
    support = min((values.shape[axis] - 1) // 2, p - 1)
    return values.narrow(axis, centre - support, 2 * support + 1)


def _wrapped_lags(values: torch.Tensor, axis: int, p: int, n: int) -> torch.Tensor:
    """Read every lag -(p-1)…p-1 of a periodic axis, ``h[τ mod n]``; outside its support zero."""
    length = values.shape[axis]
    lags = torch.arange(-(p - 1), p, device=values.device)
    index = (lags + length // 2) % n
    gathered = values.index_select(axis, index.clamp(max=length - 1))
    inside = (index < length).to(gathered.dtype)
    return gathered * inside.reshape(-1, *[1] * (-axis - 1))
