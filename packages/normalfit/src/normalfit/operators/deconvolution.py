"""Deconvolution: a known blur, convolution with a kernel over lags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import LinearOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.lag_grid import Boundary


class Deconvolution(LinearOperator):
    """The blur ``A x = crop(h ∗ x)``; its range is its domain.

    Parameters
    ----------
    domain
        Grid of ``x``.
    kernel
        ``h``, one axis per axis of the domain, real or complex; entry ``i`` of an axis with L
        entries is lag ``i - L // 2``. It may be longer than the grid: lags that no two samples
        have are dropped on linear axes and wrapped on periodic ones. A complex kernel takes
        complex ``x`` only.
    boundary
        'periodic' or 'linear' (zero outside the grid), one for all axes or one per axis.

    Raises
    ------
    InputError
        The kernel or the boundary does not fit the domain.
    """

    def __init__(
        self,
        domain: Grid,
        kernel: torch.Tensor,
        boundary: Boundary | Sequence[Boundary] = "linear",
    ) -> None:
        self.domain = self.range = domain
        if kernel.ndim != domain.num_axes or kernel.numel() == 0:
            msg = (
                f"kernel must have {domain.num_axes} axes of at least one lag, "
                f"got shape {tuple(kernel.shape)}"
            )
            raise InputError(msg)
        ends = (boundary,) * domain.num_axes if isinstance(boundary, str) else tuple(boundary)
        if len(ends) != domain.num_axes or not set(ends) <= {"periodic", "linear"}:
            msg = (
                f"boundary must be 'periodic' or 'linear', for all or for each of "
                f"{domain.num_axes} axes, got {boundary!r}"
            )
            raise InputError(msg)
        self.boundary: tuple[Boundary, ...] = ends
        values = kernel.detach()
        for axis, (n, end) in enumerate(zip(domain.shape, ends, strict=True)):
            values = lags_on_axis(values, axis, n, end)
        self._kernel = LagKernel(values[None], domain.shape, ends)
        self._copies: dict[tuple[torch.device, torch.dtype], LagKernel] = {}

    @property
    def kernel(self) -> torch.Tensor:
        """``h`` over the lags that the domain has, centred."""
        return self._kernel.values[0]

    def restricted(self, patch: Patch) -> LinearOperator:
        """Return ``A Pᵀ``, computed on the samples that the kernel reaches from the patch.

        Exact; the range is that window. A periodic axis on which the kernel reaches across
        the border stays whole.
        """
        patch.check_inside(self.domain.shape)
        axes = zip(patch.offset, patch.shape, self._kernel.lags, self.domain.shape, strict=True)
        starts, lengths, ends = [], [], []
        for (offset, p, length, n), end in zip(axes, self.boundary, strict=True):
            start, stop = offset - length // 2, offset + p + (length - 1) // 2
            wraps = end == "periodic" and (start < 0 or stop > n)
            starts.append(0 if wraps else max(start, 0))
            lengths.append((n if wraps else min(stop, n)) - starts[-1])
            ends.append(end if wraps else "linear")
        if tuple(lengths) == self.domain.shape:
            return super().restricted(patch)
        window = Deconvolution(Grid(tuple(lengths), self.domain.voxel_mm), self.kernel, ends)
        inside = tuple(o - start for o, start in zip(patch.offset, starts, strict=True))
        return LinearOperator.restricted(window, Patch(inside, patch.shape))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_copies": {}}  # a worker process must not get GPU tensors

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return _convolved(x, self._kernel_for(x))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return _convolved(y, self._kernel_for(y).adjoint)

    def _kernel_for(self, x: torch.Tensor) -> LagKernel:
        """Return the kernel on the device and in the dtype of `x`, kept for the next call."""
        if self._kernel.values.is_complex() and not x.is_complex():
            msg = f"x must be complex, as the kernel is, got {x.dtype}; convert it"
            raise InputError(msg)
        key = (x.device, x.dtype)
        if key not in self._copies:
            self._copies[key] = self._kernel.to(x.device, x.dtype)
        return self._copies[key]


def _convolved(x: torch.Tensor, kernel: LagKernel) -> torch.Tensor:
    half = not x.is_complex()
    spectrum = kernel.half_spectrum if half else kernel.full_spectrum
    return kernel.grid.convolve(x, spectrum, half=half)


def lags_on_axis(kernel: torch.Tensor, axis: int, n: int, boundary: Boundary) -> torch.Tensor:
    """Give one axis a number of lags that `LagGrid` takes, without changing ``crop(h ∗ x)``.

    Lags that no two of the n samples have are dropped on a linear axis and wrapped on a
    periodic one; a linear axis gets an odd number of lags.
    """
    length = kernel.shape[axis]
    if boundary == "periodic" and length >= n:
        wrapped = kernel.new_zeros((*kernel.shape[:axis], n, *kernel.shape[axis + 1 :]))
        index = (torch.arange(length, device=kernel.device) - length // 2 + n // 2) % n
        return wrapped.index_add_(axis, index, kernel)
    if length % 2 == 0:
        kernel = torch.cat([kernel, torch.zeros_like(kernel.narrow(axis, 0, 1))], axis)
    support = min(kernel.shape[axis] // 2, n - 1)
    return kernel.narrow(axis, kernel.shape[axis] // 2 - support, 2 * support + 1)
