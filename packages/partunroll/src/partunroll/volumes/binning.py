"""Averages over blocks: coarser detector pixels, and coarser voxels around the same centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def bin_image(image: np.ndarray, factor: int) -> NDArray[np.float64]:
    """Return the means of blocks of ``factor × factor`` pixels.

    Raises
    ------
    InputError
        The factor divides a side of the image not, or is below 1.
    """
    rows, columns = image.shape
    if factor < 1 or rows % factor or columns % factor:
        msg = f"detector_bin must divide {rows} rows and {columns} columns, got {factor}"
        raise InputError(msg)
    blocks = image.reshape(rows // factor, factor, columns // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def bin_slices(
    slices: Iterable[np.ndarray], shape: tuple[int, int, int], factor: int
) -> NDArray[np.float32]:
    """Return the averages of a volume over cubes of `factor` voxels, from its slices in turn.

    The cubes lie around the centre of the volume and cut voxels where they must; what is left
    over at its faces is dropped. Memory: the result and two slices.

    Parameters
    ----------
    slices
        ``(y, x)``, as many as ``shape[0]``.
    shape
        Of the volume.
    factor
        Side of the cubes in voxels; 1 copies.

    Raises
    ------
    InputError
        A slice has another shape, or the factor is not between 1 and the shortest side.
    """
    check_voxel_bin(shape, factor)
    along_z, along_y, along_x = (_weights(n, factor) for n in shape)
    volume = np.zeros(tuple(n // factor for n in shape), np.float32)
    for z, values in enumerate(slices):
        if values.shape != shape[1:]:
            msg = f"slices must all have the shape {shape[1:]}, got {values.shape} in slice {z}"
            raise InputError(msg)
        coarse = values.astype(np.float32) if factor == 1 else along_y @ values @ along_x.T
        for k in np.flatnonzero(along_z[:, z]):
            volume[k] += (along_z[k, z] * coarse).astype(np.float32)
    return volume


def check_voxel_bin(shape: tuple[int, int, int], factor: int) -> None:
    """Raise InputError if a volume has no cube of so many voxels."""
    if not 1 <= factor <= min(shape):
        msg = f"volume_bin must be 1 … {min(shape)}, got {factor}"
        raise InputError(msg)


def _weights(num_fine: int, factor: int) -> NDArray[np.float64]:
    """Return what part of each coarse sample every fine one is, ``(coarse, fine)``."""
    num_coarse = num_fine // factor
    first = (num_fine - num_coarse * factor) / 2
    starts = first + factor * np.arange(num_coarse)[:, None]
    fine = np.arange(num_fine)[None, :]
    overlap = np.minimum(starts + factor, fine + 1) - np.maximum(starts, fine)
    return np.asarray(np.clip(overlap, 0, None) / factor)
