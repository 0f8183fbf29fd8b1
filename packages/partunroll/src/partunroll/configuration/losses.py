"""patch_losses: what training minimises, one number per patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Loss = Literal["mse", "l1", "charbonnier"]
_EPSILON = 1e-3  # of volumes of unit range; where Charbonnier turns from square to modulus


def patch_losses(kind: Loss, x: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean over the voxels of every patch, ``(batch,)``.

    'mse' is ``|d|²`` of the difference d (paper, eq. 13), 'l1' is ``|d|``, 'charbonnier' is
    ``√(|d|² + ε²) − ε`` with ε = 1e-3 (our choice): `l1`, smooth at zero.

    Parameters
    ----------
    x, truth
        ``(batch, *p)``, float32 or complex64.
    """
    magnitude = (x - truth).abs()
    if kind == "mse":
        voxels = magnitude.square()
    elif kind == "l1":
        voxels = magnitude
    else:
        voxels = (magnitude.square() + _EPSILON**2).sqrt() - _EPSILON
    return voxels.flatten(1).mean(1)
