"""Multi-coil MRI of a square image, as the benchmarks take it: Cartesian, and radial."""

from __future__ import annotations

import math
import warnings

import torch

from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator, LinearOperator


def coil_maps(size: int, coils: int) -> torch.Tensor:
    """Return smooth complex sensitivities of coils on a circle, complex64 (coils, n, n)."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    maps = []
    for k in range(coils):
        angle = 2 * math.pi * k / coils
        dy, dx = y - 1.2 * math.sin(angle), x - 1.2 * math.cos(angle)
        maps.append(torch.polar(torch.exp(-(dx**2 + dy**2) / 1.5), dx + 0.5 * dy))
    stacked = torch.stack(maps)
    return stacked / stacked.abs().square().sum(0).sqrt()


def cartesian_mri(size: int, coils: int = 4) -> LinearOperator:
    """Return multi-coil Cartesian MRI: every third line and the 12 central ones."""
    maps, grid = coil_maps(size, coils), Grid((size, size))
    mask = torch.zeros(size, 1)
    mask[::3] = 1
    mask[size // 2 - 6 : size // 2 + 6] = 1
    mask = torch.fft.ifftshift(mask, 0)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return mask * torch.fft.fftn(maps * x[:, None], dim=(-2, -1), norm="ortho")

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        return (maps.conj() * torch.fft.ifftn(mask * y, dim=(-2, -1), norm="ortho")).sum(1)

    return FunctionOperator(
        grid, Grid((coils, size, size)), forward, adjoint, batched=True, is_complex=True
    )


def radial_mri(size: int, coils: int = 4) -> LinearOperator | None:
    """Return multi-coil radial MRI by mri-nufft; None where it is not installed."""
    try:
        from mrinufft import get_operator, initialize_2D_radial
    except ImportError:
        return None
    from normalfit.adapters.mri_nufft import from_mri_nufft

    warnings.filterwarnings("ignore", "Samples will be rescaled")
    samples = initialize_2D_radial(Nc=size // 3, Ns=size).reshape(-1, 2).astype("float32")
    operator = get_operator("finufft")(
        samples,
        (size, size),
        n_coils=coils,
        smaps=coil_maps(size, coils).numpy(),
        squeeze_dims=True,
    )
    return from_mri_nufft(operator)
