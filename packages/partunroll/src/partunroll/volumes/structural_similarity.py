"""structural_similarity: SSIM (Wang et al. 2004) of volumes in 3-D and of images in 2-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import correlate1d

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGMA = 1.5
RADIUS = 5  # voxels; the window has 11 along every axis
K1, K2 = 0.01, 0.03


def structural_similarity(
    x: np.ndarray,
    reference: np.ndarray,
    data_range: float,
    axes: Sequence[int] | None = None,
) -> float:
    """Return the mean SSIM under a Gaussian window, mirrored at the faces.

    The same figure as torchmetrics' `structural_similarity_index_measure` with its defaults on
    ``(1, 1, *shape)``; tests hold it to that. Written out because torchmetrics takes seconds to
    import and convolves with the dense 11³ window (a volume of 256³: minutes on two cores).

    Parameters
    ----------
    x, reference
        Real arrays of one shape, any number of axes.
    data_range
        Dynamic range of the signal.
    axes
        Of the window; None: all. Two of three give the mean SSIM of the slices along them.

    Raises
    ------
    InputError
        An axis is shorter than the window.
    """
    axes = range(x.ndim) if axes is None else axes
    if min(x.shape[axis] for axis in axes) <= 2 * RADIUS:
        msg = (
            f"volume must have at least {2 * RADIUS + 1} voxels along every axis for SSIM, "
            f"got shape {x.shape}"
        )
        raise InputError(msg)
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_reference = _smoothed(x, axes), _smoothed(reference, axes)
    variances = np.maximum(_smoothed(x * x, axes) - mean_x**2, 0)
    variances += np.maximum(_smoothed(reference * reference, axes) - mean_reference**2, 0)
    covariance = _smoothed(x * reference, axes) - mean_x * mean_reference
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_reference + c1) / (mean_x**2 + mean_reference**2 + c1)
    return float(np.mean(luminance * (2 * covariance + c2) / (variances + c2)))


def _smoothed(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    offsets = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    for axis in axes:
        x = correlate1d(x, weights, axis=axis, mode="mirror")
    return x
