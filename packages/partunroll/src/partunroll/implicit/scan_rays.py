"""ScanRays: the rays of a scan inside the volume, from the geometry of its operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.parallel_beam import ParallelBeam

if TYPE_CHECKING:
    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator


@dataclass(frozen=True, eq=False)
class RayBatch:
    """Rays ``start + t · direction``, 0 ≤ t ≤ 1, from where they enter a volume to its far side.

    Parameters
    ----------
    start, direction
        ``(rays, axes)``, in voxels, in the order of the volume's axes.
    length_mm
        ``(rays,)``; zero where a ray misses the volume.
    """

    start: torch.Tensor
    direction: torch.Tensor
    length_mm: torch.Tensor


@dataclass(frozen=True, eq=False)
class ScanRays:
    """All rays of a scan; only those that are asked for are computed.

    The ray of measurement ``[view, row, column]`` is ``origin + row · across + column · along``
    on the detector; it comes from `source` where there is one, else along `direction`.

    Parameters
    ----------
    grid
        The volume's.
    range_shape
        ``(views, rows, columns)`` or ``(views, columns)``.
    source, direction
        ``(views, axes)``, mm, in the order of the volume's axes; one of the two is None.
    origin, across, along
        ``(views, axes)``, mm: pixel (0, 0), and the steps to the next row and column.
    """

    grid: Grid
    range_shape: tuple[int, ...]
    source: torch.Tensor | None
    direction: torch.Tensor | None
    origin: torch.Tensor
    across: torch.Tensor
    along: torch.Tensor

    def batch(self, measurements: torch.Tensor) -> RayBatch:
        """Return the rays of flat indices of measurements, int64, ``(rays,)``."""
        columns = self.range_shape[-1]
        rows = self.range_shape[1] if len(self.range_shape) == 3 else 1
        view = measurements // (rows * columns)
        row = (measurements // columns % rows)[:, None]
        column = (measurements % columns)[:, None]
        pixel = self.origin[view] + row * self.across[view] + column * self.along[view]
        if self.direction is not None:
            return self._clipped(pixel, self.direction[view], first=-torch.inf)
        assert self.source is not None  # noqa: S101 - one of the two is there
        source = self.source[view]
        return self._clipped(source, pixel - source, first=0.0)

    def _clipped(self, point: torch.Tensor, direction: torch.Tensor, first: float) -> RayBatch:
        """Return the parts of lines inside the box of the volume, from parameter `first` on."""
        sides = direction.new_tensor(self.grid.voxel_mm)
        shape = direction.new_tensor(self.grid.shape)
        # in double precision: a ray comes from far away
        still = direction.abs() < 1e-12 * direction.norm(dim=1, keepdim=True)
        steps = torch.where(still, torch.ones_like(direction), direction)
        faces = 0.5 * shape * sides
        one, other = (-faces - point) / steps, (faces - point) / steps
        inside = point.abs() <= faces
        low = torch.where(still, torch.where(inside, -torch.inf, torch.inf), one.minimum(other))
        high = torch.where(still, torch.where(inside, torch.inf, -torch.inf), one.maximum(other))
        enter = low.amax(1).clamp_min(first)
        leave = high.amin(1)
        met = leave > enter
        enter = torch.where(met, enter, 0.0)[:, None]
        span = torch.where(met, leave, 0.0)[:, None] - enter
        start_mm = point + enter * direction
        return RayBatch(
            (start_mm / sides + (shape - 1) / 2).float(),
            (span * direction / sides).float(),
            (span[:, 0] * direction.norm(dim=1)).float(),
        )


def scan_rays(operator: LinearOperator, device: torch.device) -> ScanRays | None:
    """Return the rays of a projector; None where an operator does not consist of known rays.

    Cone beam (any source and detector, so also a fan beam: one slice, one row) and parallel
    beam; not of an operator that is restricted to a patch.
    """
    if isinstance(operator, ConeBeam):
        whole = (operator.geometry.num_views, *operator.geometry.detector_shape)
        return _cone_rays(operator, device) if operator.range.shape == whole else None
    if isinstance(operator, ParallelBeam):
        geometry = operator.geometry
        rows = operator.domain.shape[:-2]
        complete = operator.range.shape == (geometry.num_views, *rows, geometry.num_columns)
        return _parallel_rays(operator, device) if complete else None
    return None


def _cone_rays(operator: ConeBeam, device: torch.device) -> ScanRays:
    geometry = operator.geometry
    rows, columns = geometry.detector_shape
    corner = geometry.detector - (columns - 1) / 2 * geometry.u - (rows - 1) / 2 * geometry.v

    def turned(xyz: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(xyz[:, ::-1])).to(device)

    return ScanRays(
        operator.domain,
        operator.range.shape,
        turned(geometry.source),
        None,
        turned(corner),
        turned(geometry.v),
        turned(geometry.u),
    )


def _parallel_rays(operator: ParallelBeam, device: torch.device) -> ScanRays:
    geometry, grid = operator.geometry, operator.domain
    sin, cos = geometry.directions.T
    flat = grid.num_axes == 2
    depth = [] if flat else [np.zeros_like(sin)]
    first = -geometry.axis_column * geometry.column_mm
    side = (grid.voxel_mm or (1.0,))[0]
    lowest = [] if flat else [np.full_like(sin, -(grid.shape[0] - 1) / 2 * side)]
    step = [np.zeros_like(sin)] * 2 if flat else [np.full_like(sin, side), 0 * sin, 0 * sin]

    def stacked(parts: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(parts, axis=1)).to(device)

    return ScanRays(
        grid,
        operator.range.shape,
        None,
        stacked([*depth, -cos, sin]),
        stacked([*lowest, first * sin, first * cos]),
        stacked(step),
        stacked([*depth, geometry.column_mm * sin, geometry.column_mm * cos]),
    )
