"""local_phase: the smooth phase of complex images."""

from __future__ import annotations

import torch


@torch.no_grad()
def local_phase(images: torch.Tensor) -> torch.Tensor:
    """Return ``p``, ``|p| = 1``: the phase of images blurred by (1, 2, 1) / 4 along every axis.

    Noise of the single voxel is averaged out, so that ``images / p`` are real where a voxel and
    its neighbours agree, up to noise in both parts. One where the blurred images are zero. A
    global phase of the images is one of p; nothing is differentiated through it.

    Parameters
    ----------
    images
        Complex, ``(count, *p)``.
    """
    blurred = images
    for axis in range(1, images.ndim):
        length = images.shape[axis]
        before = blurred.narrow(axis, 0, max(0, length - 1))
        after = blurred.narrow(axis, min(1, length), max(0, length - 1))
        wide = 2 * blurred  # ends have fewer neighbours: only the phase counts
        wide.narrow(axis, min(1, length), max(0, length - 1)).add_(before)
        wide.narrow(axis, 0, max(0, length - 1)).add_(after)
        blurred = wide
    magnitude = blurred.abs()
    return torch.where(magnitude > 0, blurred / magnitude.clamp_min(1e-30), 1)
