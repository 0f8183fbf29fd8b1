"""sampling_mask: which phase encodings of a Cartesian scan are measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from normalfit.errors import InputError
from normalfit.mri.poisson_disc import poisson_disc

if TYPE_CHECKING:
    from collections.abc import Sequence

Pattern = Literal["poisson-disc", "gaussian", "random", "uniform"]

_GAUSSIAN_STD = 1 / 6  # of the extent of k-space, as in deepinv and fastMRI's Gaussian masks


def sampling_mask(
    shape: Sequence[int],
    pattern: Pattern,
    acceleration: float,
    *,
    calibration: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Draw a mask over centred k-space; the zero frequency has the index ``n // 2``.

    The same seed gives the same mask for ever: only raw random bits are used (NEP 19).

    Parameters
    ----------
    shape
        Phase encodings per axis, one axis (lines) or two.
    pattern
        'poisson-disc' (two axes; density falling outwards), 'gaussian' (density falling
        outwards), 'random' (uniform density) or 'uniform' (a regular lattice: every R-th line,
        or in two axes a CAIPIRINHA pattern).
    acceleration
        R, all points over the measured ones, those for calibration included; 'uniform' takes
        a whole number, of its lattice, to which the calibration is added.
    calibration
        Side of the fully sampled centre, in points; 0 is none.
    seed
        What makes the mask.

    Returns
    -------
    numpy.ndarray
        bool ``(*shape)``.

    Raises
    ------
    InputError
        An argument is out of range, or the calibration alone has more points than R leaves.
    """
    shape = tuple(shape)
    if pattern not in get_args(Pattern):
        msg = f"mask must be one of {', '.join(get_args(Pattern))}, got {pattern!r}"
        raise InputError(msg)
    _check(shape, pattern, acceleration, calibration)
    fixed = calibration_region(shape, calibration)
    if pattern == "uniform":
        return fixed | _lattice(shape, round(acceleration))
    count = max(1, round(math.prod(shape) / acceleration))
    if fixed.sum() > count:
        msg = (
            f"calibration must leave room for {count} samples at an acceleration of "
            f"{acceleration:g}, got {calibration} ({fixed.sum()} samples); make it smaller"
        )
        raise InputError(msg)
    if acceleration == 1:
        return np.ones(shape, dtype=bool)
    draw = _uniform(seed, math.prod(shape))
    if pattern == "poisson-disc":
        return poisson_disc((shape[0], shape[1]), count, fixed, np.argsort(draw, kind="stable"))
    # the smallest -log(uniform)/density are a weighted sample without replacement
    keys = -np.log1p(-draw).reshape(shape) / _density(shape, pattern)
    keys[fixed] = -1
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[np.argsort(keys.ravel(), kind="stable")[:count]] = True
    return mask


def calibration_region(shape: Sequence[int], side: int) -> np.ndarray:
    """Return the fully sampled centre, bool ``(*shape)``: `side` points of every axis."""
    region = np.zeros(tuple(shape), dtype=bool)
    region[tuple(slice(n // 2 - side // 2, n // 2 - side // 2 + side) for n in shape)] = True
    return region & (side > 0)


def _check(shape: tuple[int, ...], pattern: str, acceleration: float, calibration: int) -> None:
    if len(shape) not in (1, 2) or (pattern == "poisson-disc" and len(shape) != 2):
        count = "two" if pattern == "poisson-disc" else "one or two"
        msg = (
            f"mask {pattern} must have {count} phase-encoding axes, got the shape {shape}; "
            "for lines take gaussian, random or uniform"
        )
        raise InputError(msg)
    if not 1 <= acceleration <= math.prod(shape):
        msg = f"acceleration must be between 1 and {math.prod(shape)}, got {acceleration}"
        raise InputError(msg)
    if pattern == "uniform" and acceleration != round(acceleration):
        msg = f"acceleration must be a whole number for a uniform mask, got {acceleration}"
        raise InputError(msg)
    if not 0 <= calibration <= min(shape):
        msg = f"calibration must be between 0 and {min(shape)}, got {calibration}"
        raise InputError(msg)


def _lattice(shape: tuple[int, ...], step: int) -> np.ndarray:
    """Return every step-th line, or the points of which ``i + s j`` is a multiple of it."""
    index = np.arange(shape[0]) - shape[0] // 2
    if len(shape) == 1:
        return index % step == 0
    shift = round(math.sqrt(step))  # 4: 2 × 2 with shifted columns; 5: a knight's move
    columns = np.arange(shape[1]) - shape[1] // 2
    return (index[:, None] + shift * columns[None, :]) % step == 0


def _density(shape: tuple[int, ...], pattern: str) -> np.ndarray:
    density = np.ones(shape)
    if pattern == "random":
        return density
    for axis, n in enumerate(shape):
        place = (np.arange(n) - n // 2) / n / _GAUSSIAN_STD
        place = place.reshape(-1, *[1] * (len(shape) - axis - 1))
        density = density * np.exp(-0.5 * place**2)
    return density


def _uniform(seed: int, count: int) -> np.ndarray:
    raw = np.random.PCG64(seed).random_raw(count)
    return (raw >> np.uint64(11)) * 2.0**-53
