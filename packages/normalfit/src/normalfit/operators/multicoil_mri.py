"""MulticoilMRI: Cartesian multi-coil MRI, of all axes or in hybrid space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.mri.centred_fft import centred_fft, centred_ifft
from normalfit.operators.mri_operator import MRIOperator
from normalfit.toeplitz_factors import toeplitz_factors

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.lag_grid import Boundary
    from normalfit.linear_operator import LinearOperator


class MulticoilMRI(MRIOperator):
    """``A x = (m ⊙ F (s_j ⊙ x))_j`` with the centred orthonormal ``F`` of deepinv's MultiCoilMRI.

    The range is the whole k-space, zero where nothing is measured.

    Parameters
    ----------
    domain, coil_maps
        As for `MRIOperator`.
    mask
        ``m``, bool or real weights over centred k-space; axes of length one are repeated.
    hybrid_axis
        An axis along which the data are images already (x of x-ky-kz); the mask must be the same
        along it. None: every axis is in k-space.

    Raises
    ------
    InputError
        The mask does not fit the domain, or measures nothing.
    """

    def __init__(
        self,
        domain: Grid,
        coil_maps: torch.Tensor,
        mask: torch.Tensor,
        *,
        hybrid_axis: int | None = None,
    ) -> None:
        super().__init__(domain, coil_maps)
        allowed = range(domain.num_axes)
        if hybrid_axis is not None and hybrid_axis not in allowed:
            msg = f"hybrid_axis must be one of {', '.join(map(str, allowed))}, got {hybrid_axis}"
            raise InputError(msg)
        _check_mask(mask, domain.shape, hybrid_axis)
        self.range = Grid((len(coil_maps), *domain.shape))
        self.boundary = "periodic"
        if hybrid_axis is not None:  # nothing couples the slices
            self.kernel_lags = tuple(1 if axis == hybrid_axis else None for axis in allowed)
        self.hybrid_axis = hybrid_axis
        self._mask = mask.detach()
        self._axes = [axis - domain.num_axes for axis in allowed if axis != hybrid_axis]

    @property
    def mask(self) -> torch.Tensor:
        """``m``, as it was given."""
        return self._mask

    @property
    def acceleration(self) -> float:
        """All points of k-space over the measured ones."""
        return self._mask.numel() / int((self._mask != 0).sum())

    def exact_factors(self, dtype: torch.dtype = torch.complex64) -> Factors:
        """Return ``A*A``: the kernel is the inverse FFT of the squared mask, one lag if hybrid."""
        squared = self._mask.to(torch.float64).square()
        shape = tuple(
            1 if axis == self.hybrid_axis else n for axis, n in enumerate(self.domain.shape)
        )
        spectrum = torch.fft.ifftshift(squared.expand(shape), dim=self._axes)
        kernel = torch.fft.fftshift(torch.fft.ifftn(spectrum, dim=self._axes), dim=self._axes)
        boundary: tuple[Boundary, ...] = tuple("periodic" for _ in self.domain.shape)
        return toeplitz_factors(self._coil_maps.to(dtype), kernel.to(dtype), boundary)

    def refined(self, factor: int) -> LinearOperator:
        """Return the same scan of an object with `factor` times finer voxels."""
        from normalfit.operators.refined_mri import RefinedMRI

        return RefinedMRI(self, factor)

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``A*A x``; one coil at a time, without shifts."""
        if x.requires_grad or x.shape[x.ndim - self.domain.num_axes :] != self.domain.shape:
            return super().normal(x)
        weights = self._on("weights", self._shifted_weights(), x)
        result = torch.zeros_like(x)
        for coil in self._on("maps", self._coil_maps, x):
            spectrum = weights * torch.fft.fftn(coil * x, dim=self._axes)
            result += coil.conj() * torch.fft.ifftn(spectrum, dim=self._axes)
        return result

    def _shifted_weights(self) -> torch.Tensor:
        axes = [axis for axis in self._axes if self._mask.shape[axis] > 1]
        weights = self._mask.to(torch.float64).square()
        return torch.fft.ifftshift(weights, dim=axes) if axes else weights

    def _sample(self, images: torch.Tensor) -> torch.Tensor:
        return self._on("mask", self._mask, images) * centred_fft(images, self._axes)

    def _image(self, y: torch.Tensor) -> torch.Tensor:
        return centred_ifft(self._on("mask", self._mask, y) * y, self._axes)


def _check_mask(mask: torch.Tensor, shape: tuple[int, ...], hybrid_axis: int | None) -> None:
    fits = mask.ndim == len(shape) and all(
        m in (1, n) for m, n in zip(mask.shape, shape, strict=True)
    )
    if not fits or mask.is_complex():
        msg = (
            f"mask must be real of shape {shape}, or one along some axes, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
        raise InputError(msg)
    if not bool((mask != 0).any()) or not bool(mask.double().isfinite().all()):
        msg = "mask must be finite and measure something, got zeros, NaN or infinity"
        raise InputError(msg)
    if hybrid_axis is not None and mask.shape[hybrid_axis] != 1:
        msg = (
            f"mask must have one point along the hybrid axis {hybrid_axis}, "
            f"got shape {tuple(mask.shape)}"
        )
        raise InputError(msg)
