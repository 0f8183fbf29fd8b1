"""slice_images: reconstruction, reference and error side by side, on three orthogonal slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partunroll.errors import InputError

if TYPE_CHECKING:
    import torch

_GRAY_PERCENTILES = (0.1, 99.9)  # of the reference; as in figures
_FULL_ERROR = 0.25  # of the gray scale; fixed, so that the steps of a training compare # our choice


def slice_images(reconstruction: torch.Tensor, reference: torch.Tensor) -> dict[str, np.ndarray]:
    """Return a picture of every middle slice, by the name of the axis that it is across.

    Both volumes have the gray scale of the reference, of complex ones the magnitude is shown. The
    error is red where the reconstruction is too high and blue where it is too low, and white where
    it is right; full colours are a quarter of the gray scale.

    Parameters
    ----------
    reconstruction, reference
        ``(z, y, x)``, or ``(y, x)`` for one picture, called ``z``.

    Returns
    -------
    dict
        Arrays of uint8, ``(rows, 3 · columns, 3)``.

    Raises
    ------
    InputError
        The shapes differ.
    """
    if reconstruction.shape != reference.shape:
        msg = (
            f"reconstruction must have the shape of the reference, {tuple(reference.shape)}, got "
            f"{tuple(reconstruction.shape)}"
        )
        raise InputError(msg)
    if reference.ndim == 2:  # one slice across z
        axes, reconstruction, reference = "z", reconstruction[None], reference[None]
    else:
        axes = "zyx"
    slices = {
        name: [_middle(x, axis) for x in (reconstruction, reference)]
        for axis, name in enumerate(axes)
    }
    truths = np.concatenate([truth.ravel() for _, truth in slices.values()])
    low, high = np.percentile(truths, _GRAY_PERCENTILES)
    extent = max(float(high - low), float(np.finfo(np.float32).tiny))
    images = {}
    for name, (x, truth) in slices.items():
        parts = [_gray((x - low) / extent), _gray((truth - low) / extent)]
        images[name] = np.concatenate([*parts, _signed((x - truth) / extent)], axis=1)
    return images


def _middle(volume: torch.Tensor, axis: int) -> np.ndarray:
    x = volume.select(axis, volume.shape[axis] // 2).detach().cpu()
    return (x.abs() if x.is_complex() else x).numpy().astype(np.float32)


def _gray(values: np.ndarray) -> np.ndarray:
    """Return ``(rows, columns, 3)`` of values in [0, 1]; what lies outside is cut."""
    return np.repeat(_bytes(values)[..., None], 3, axis=2)


def _signed(errors: np.ndarray) -> np.ndarray:
    strength = np.clip(errors / _FULL_ERROR, -1, 1)
    too_high, too_low = np.maximum(strength, 0), np.maximum(-strength, 0)
    return np.stack(
        [_bytes(1 - too_low), _bytes(1 - np.abs(strength)), _bytes(1 - too_high)], axis=2
    )


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
