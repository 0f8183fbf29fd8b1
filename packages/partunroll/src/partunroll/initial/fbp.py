"""fbp: filtered backprojection of parallel-beam scans, in 2-D or slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from partunroll.errors import InputError
from partunroll.initial.circular_orbit import angular_increments
from partunroll.initial.ramp_filter import filter_rows

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from normalfit.operators.parallel_beam import ParallelBeam
    from normalfit.operators.parallel_geometry import ParallelGeometry

SLAB_SAMPLES = 2**22  # pixels times slices that are gathered at once: 16 MB of float32


def fbp(
    operator: ParallelBeam, y: torch.Tensor, window: str = "ramp", cutoff: float = 1.0
) -> torch.Tensor:
    """Return the filtered backprojection of parallel projections (Kak & Slaney, section 3.3).

    Views may be uneven and in any order, over 180° or 360°, around an axis anywhere on the
    detector: each counts for half of the way to its neighbours modulo 180°.

    Parameters
    ----------
    operator
        Its geometry and its domain are used, its projector is not.
    y
        Line integrals ``(..., views, columns)`` or ``(..., views, rows, columns)``, real, in the
        operator's unit. Outside the detector they are taken as zero.
    window, cutoff
        As for `filter_rows`.

    Returns
    -------
    torch.Tensor
        ``(..., y, x)`` or ``(..., z, y, x)``, dtype and device of `y`.

    Raises
    ------
    InputError
        The projections are not the operator's, or the views leave a gap in the half circle.
    """
    shape = operator.range.shape
    if tuple(y.shape[y.ndim - len(shape) :]) != shape or y.is_complex():
        msg = (
            f"projections must be real and of the trailing shape {shape}, "
            f"got {y.dtype} of {tuple(y.shape)}"
        )
        raise InputError(msg)
    geometry = operator.geometry
    increments = angular_increments(np.asarray(geometry.angles_rad), np.pi)
    batch = y.detach().reshape(-1, shape[0], *((1,) if len(shape) == 2 else ()), *shape[1:])
    volumes = []
    for projections in batch:
        filtered = filter_rows(projections, geometry.column_mm, window, cutoff)
        volumes.append(_backproject(filtered, increments, geometry, operator.domain))
    return torch.stack(volumes).reshape(*y.shape[: y.ndim - len(shape)], *operator.domain.shape)


def check_half_circle(geometry: ParallelGeometry) -> None:
    """Refuse a geometry that `fbp` cannot reconstruct.

    Raises
    ------
    InputError
        The views leave a gap in the half circle.
    """
    angular_increments(np.asarray(geometry.angles_rad), np.pi)


def _backproject(
    filtered: torch.Tensor, increments: np.ndarray, geometry: ParallelGeometry, grid: Grid
) -> torch.Tensor:
    """Map ``(views, rows, columns)`` to ``(rows, y, x)``."""
    _, num_rows, num_columns = filtered.shape
    num_pixels = grid.shape[-2] * grid.shape[-1]
    columns_first = torch.nn.functional.pad(filtered, (1, 1)).mT.contiguous()
    volume = filtered.new_zeros(num_pixels, num_rows)
    thickness = max(1, SLAB_SAMPLES // num_pixels)
    for view, (angle, increment) in enumerate(zip(geometry.angles_rad, increments, strict=True)):
        place = _column_of_pixels(geometry, float(angle), grid).to(filtered) + 1.0
        place = place.clamp(0.0, num_columns + 1.0)
        left = place.floor().clamp_max(num_columns)
        weight = ((place - left) * float(increment))[:, None]
        index = left.long()
        for start in range(0, num_rows, thickness):
            part = columns_first[view, :, start : start + thickness]
            slab = volume[:, start : start + thickness]
            slab += part[index] * (float(increment) - weight) + part[index + 1] * weight
    return volume.T.reshape(num_rows, *grid.shape[-2:]).contiguous()


def _column_of_pixels(geometry: ParallelGeometry, angle: float, grid: Grid) -> torch.Tensor:
    """Return the detector column, counted from 0, that each pixel ``(y, x)`` projects to."""
    sides = grid.voxel_mm or (1.0,) * grid.num_axes
    y, x = (
        (np.arange(n) - 0.5 * (n - 1)) * side
        for n, side in zip(grid.shape[-2:], sides[-2:], strict=True)
    )
    distance = x[None, :] * np.cos(angle) + y[:, None] * np.sin(angle)
    return torch.from_numpy(geometry.axis_column + distance.ravel() / geometry.column_mm)
