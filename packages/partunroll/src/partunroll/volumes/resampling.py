"""resample: a volume onto an operator's grid, anti-aliased.  scale_to_unit and cylinder_mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from partunroll.errors import InputError

if TYPE_CHECKING:
    import scipy.sparse

    from normalfit.grid import Grid

HU_THRESHOLD = -900.0  # a volume that reaches below is taken as Hounsfield units; our choice
HU_AIR = -1000.0
HIGH_PERCENTILE = 99.9  # a few bright voxels must not darken the object; our choice
MODES = ("fit", "physical")

Mode = Literal["fit", "physical"]


def resample(
    volume: np.ndarray,
    voxel_mm: tuple[float, ...] | None,
    grid: Grid,
    mode: Mode = "fit",
) -> np.ndarray:
    """Resample a volume onto a grid, centre on centre.

    Each axis is interpolated linearly; where voxels grow, the triangle of the interpolation
    grows with them, which keeps what the grid cannot hold from folding back (anti-aliasing).
    Outside the volume is its minimum.

    Parameters
    ----------
    volume
        ``(z, y, x)`` or ``(y, x)``, as many axes as `grid`.
    voxel_mm
        Voxel sides of `volume`; None means cubes (`fit`) or the grid's own voxels (`physical`).
    mode
        ``fit`` (our choice of default) scales the volume, at its own aspect ratio, until its
        longest axis fills the grid, so the whole object is kept; ``physical`` keeps its size in
        mm and cuts off what does not fit.

    Returns
    -------
    np.ndarray
        float32 of shape ``grid.shape``.

    Raises
    ------
    InputError
        The axes of volume and grid differ, or `mode` is unknown.
    """
    if volume.ndim != grid.num_axes or mode not in MODES:
        msg = (
            f"volume must have the {grid.num_axes} axes of the grid and mode must be one of "
            f"{MODES}, got a volume of shape {volume.shape} and mode {mode!r}"
        )
        raise InputError(msg)
    steps = _voxel_ratio(volume.shape, voxel_mm, grid, mode)
    low = float(volume.min())
    result = np.asarray(volume, dtype=np.float32) - np.float32(low)
    for axis, (step, num_samples) in enumerate(zip(steps, grid.shape, strict=True)):
        weights = _interpolation_weights(result.shape[axis], num_samples, step)
        result = _apply_along(result, weights, axis)
    return result + np.float32(low)


def scale_to_unit(volume: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Scale a volume to [0, 1] and clip what lies outside.

    Parameters
    ----------
    volume
        Any shape.
    value_range
        Values that become 0 and 1. Without it: from the minimum to the 99.9th percentile; in
        Hounsfield units (a minimum of −900 or less) from −1000, which is air.

    Raises
    ------
    InputError
        The volume is constant, or `value_range` does not ascend or is not finite.
    """
    low, high = value_range if value_range is not None else _robust_range(volume)
    if not -np.inf < low < high < np.inf:
        msg = (
            f"value_range must be finite and ascend, got {low:g} to {high:g}; a constant volume "
            "cannot be scaled, any other can with a value_range given"
        )
        raise InputError(msg)
    scaled = (np.asarray(volume, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0)


def cylinder_mask(grid: Grid) -> np.ndarray:
    """Return the inscribed cylinder (or disc) of a grid: 1 inside, 0 outside, soft at its edge.

    Its axis is z. For volumes cut out of something larger, so that they end inside the field of
    view instead of in the corners of the grid.

    Returns
    -------
    np.ndarray
        float32 ``(y, x)``, which broadcasts over z.
    """
    sides = grid.voxel_mm or (1.0,) * grid.num_axes
    y, x = (
        (np.arange(n) - 0.5 * (n - 1)) * side
        for n, side in zip(grid.shape[-2:], sides[-2:], strict=True)
    )
    radius = 0.5 * min(n * side for n, side in zip(grid.shape[-2:], sides[-2:], strict=True))
    distance = radius - np.hypot(y[:, None], x[None, :])
    return np.clip(distance / max(sides[-2:]) + 0.5, 0.0, 1.0).astype(np.float32)


def _robust_range(volume: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(volume, (0.0, HIGH_PERCENTILE)))
    if high <= low:  # an object smaller than a thousandth of its volume
        high = float(volume.max())
    return (HU_AIR, high) if low <= HU_THRESHOLD else (low, high)


def _voxel_ratio(
    shape: tuple[int, ...], voxel_mm: tuple[float, ...] | None, grid: Grid, mode: Mode
) -> tuple[float, ...]:
    """Return how many input voxels one output voxel is wide, per axis."""
    out = grid.voxel_mm or (1.0,) * grid.num_axes
    own = voxel_mm or (out if mode == "physical" else (1.0,) * len(shape))
    scale = 1.0
    if mode == "fit":
        axes = zip(shape, own, grid.shape, out, strict=True)
        scale = min(n_out * side_out / (n * side) for n, side, n_out, side_out in axes)
    return tuple(side_out / (side * scale) for side, side_out in zip(own, out, strict=True))


def _interpolation_weights(num_in: int, num_out: int, step: float) -> scipy.sparse.csr_array:
    """Return the sparse ``(num_out, num_in)`` matrix of (widened) linear interpolation.

    Rows sum to one where their triangle lies inside; what they lack elsewhere is background.
    """
    import scipy.sparse

    width = max(step, 1.0)
    centres = 0.5 * (num_in - 1) + (np.arange(num_out) - 0.5 * (num_out - 1)) * step
    taps = np.arange(int(np.ceil(2 * width)) + 1)
    columns = np.floor(centres - width)[:, None].astype(np.int64) + 1 + taps
    weights = np.maximum(0.0, 1.0 - np.abs(columns - centres[:, None]) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = (columns >= 0) & (columns < num_in)
    rows = np.broadcast_to(np.arange(num_out)[:, None], columns.shape)
    entries = weights[inside].astype(np.float32), (rows[inside], columns[inside])
    return scipy.sparse.csr_array(entries, shape=(num_out, num_in))


def _apply_along(x: np.ndarray, weights: scipy.sparse.csr_array, axis: int) -> np.ndarray:
    moved = np.moveaxis(x, axis, 0)
    flat = np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    result = (weights @ flat).reshape(weights.shape[0], *moved.shape[1:])
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))
