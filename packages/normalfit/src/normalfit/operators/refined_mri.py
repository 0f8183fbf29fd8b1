"""RefinedMRI: the k-space that a scanner measures of an object on a finer grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from normalfit.grid import Grid
from normalfit.linear_operator import LinearOperator
from normalfit.mri.centred_fft import centred_fft, centred_ifft

if TYPE_CHECKING:
    from normalfit.operators.multicoil_mri import MulticoilMRI


class RefinedMRI(LinearOperator):
    """Cartesian MRI of finer voxels: the same samples of k-space, of an object with detail.

    The finer k-space is cut to the operator's, so that its edges ring as a scanner's do. Voxels
    of both grids are where blocks of `factor` finer ones are the coarser ones.

    Parameters
    ----------
    operator
        MRI on the grid of the reconstruction; its maps are interpolated.
    factor
        Finer voxels per voxel along each axis.
    """

    is_complex = True

    def __init__(self, operator: MulticoilMRI, factor: int) -> None:
        coarse = operator.domain
        voxel_mm = coarse.voxel_mm and tuple(side / factor for side in coarse.voxel_mm)
        self.domain = Grid(tuple(factor * n for n in coarse.shape), voxel_mm)
        self.range = operator.range
        self._operator, self._factor = operator, factor
        self._maps = _interpolated(operator.coil_maps, factor)
        hybrid = operator.hybrid_axis
        self._axes = [a - coarse.num_axes for a in range(coarse.num_axes) if a != hybrid]
        self._hybrid = None if hybrid is None else hybrid - coarse.num_axes
        # orthonormal FFTs: samples of one object grow with the root of the number of voxels
        self._scale = factor ** (-len(self._axes) / 2)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        images = self._maps.to(x) * x[:, None]
        if self._hybrid is not None:
            axis = images.ndim + self._hybrid
            blocks = (*images.shape[:axis], -1, self._factor, *images.shape[axis + 1 :])
            images = images.reshape(blocks).mean(axis + 1)
        kspace = centred_fft(images, self._axes)
        for axis in self._axes:
            n = self._operator.domain.shape[axis]
            kspace = kspace.narrow(axis, self._factor * n // 2 - n // 2, n)
        return self._operator.mask.to(x.device) * kspace * self._ramp(x) * self._scale

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        kspace = self._operator.mask.to(y.device) * y * self._ramp(y).conj() * self._scale
        for axis in self._axes:
            n = self._operator.domain.shape[axis]
            first = self._factor * n // 2 - n // 2
            before, after = first, self._factor * n - n - first
            kspace = F.pad(kspace.movedim(axis, -1), (before, after)).movedim(-1, axis)
        images = centred_ifft(kspace, self._axes)
        if self._hybrid is not None:
            images = images.repeat_interleave(self._factor, self._hybrid) / self._factor
        return (self._maps.to(y).conj() * images).sum(1)

    def _ramp(self, x: torch.Tensor) -> torch.Tensor:
        """Return the phase that moves the origin of the finer grid to that of the coarser."""
        ramp = torch.ones((), dtype=x.dtype, device=x.device)
        for axis in self._axes:
            n = self._operator.domain.shape[axis]
            # in coarse voxels: centre of fine voxel m is (m + ½) / factor - ½
            shift = (self._factor * n // 2 + 0.5) / self._factor - 0.5 - n // 2
            frequency = (torch.arange(n, device=x.device) - n // 2) / n
            phase = torch.polar(torch.ones(n), -2 * math.pi * shift * frequency.cpu().float())
            ramp = ramp * phase.to(x).reshape(-1, *[1] * (-1 - axis))
        return ramp


def _interpolated(maps: torch.Tensor, factor: int) -> torch.Tensor:
    """Return coil maps on a grid of finer voxels, linearly between the centres of voxels."""
    mode = "bilinear" if maps.ndim == 3 else "trilinear"
    parts = [
        F.interpolate(part[None], scale_factor=factor, mode=mode, align_corners=False)[0]
        for part in (maps.real, maps.imag)
    ]
    return torch.complex(*parts)
