"""central_part: the middle of a volume, in which figures are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from partunroll.errors import InputError
from partunroll.volumes.image_metrics import Comparison, magnitude

if TYPE_CHECKING:
    import torch


def central_shape(shape: tuple[int, ...], crop: float | None) -> tuple[int, ...]:
    """Return the shape of the part of a volume that figures are taken of.

    Parameters
    ----------
    shape
        Of the volume.
    crop
        Voxels per axis where it is a whole number, at most those that there are; their share
        where it is not; None is everything.

    Raises
    ------
    InputError
        Nothing would be left of an axis.
    """
    if crop is None:
        return shape
    if isinstance(crop, int):
        return tuple(min(crop, n) for n in shape)
    found = tuple(round(crop * n) for n in shape)
    if min(found) < 1:
        msg = f"crop must leave voxels of volumes of shape {shape}, got {crop:g}"
        raise InputError(msg)
    return found


def central_part(x: torch.Tensor, crop: float | None) -> torch.Tensor:
    """Return the middle of a volume, ``(*shape)``; of an odd rest the last voxel is left out."""
    inner = central_shape(tuple(x.shape), crop)
    starts = [(n - m) // 2 for n, m in zip(x.shape, inner, strict=True)]
    return x[tuple(slice(start, start + m) for start, m in zip(starts, inner, strict=True))]


def central_psnr(x: torch.Tensor, reference: torch.Tensor, crop: float | None) -> float:
    """Return the PSNR in dB of the central part, relative to the range of the whole reference."""
    score = Comparison.with_reference(reference)
    return score.psnr(*(central_part(magnitude(v), crop) for v in (x, reference)))
