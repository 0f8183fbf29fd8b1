"""ParallelBeam: line integrals in mm along parallel rays, slice by slice in 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.operators import joseph_parallel
from normalfit.operators.astra_backend import AstraProjector
from normalfit.operators.detector_windows import DetectorWindows
from normalfit.operators.joseph_parallel import ParallelRays
from normalfit.operators.projection_operator import ProjectionOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.operators.parallel_geometry import ParallelGeometry

    Real = NDArray[np.floating[Any]]


class ParallelBeam(ProjectionOperator):
    """Parallel-beam projector around the z axis.

    A plane ``(y, x)`` gives ``(views, columns)``; a volume ``(z, y, x)`` is projected slice by
    slice to ``(views, rows, columns)``, one row per slice. On the CPU it is Joseph's projector,
    bitwise the same for any number of threads.

    Parameters
    ----------
    domain
        Grid ``(y, x)`` or ``(z, y, x)`` with voxels square in y and x, centred on the axis of
        rotation. Their side in z is free.
    geometry
        Angles and columns.
    backend
        'auto', 'astra' or 'numba', see `ProjectionOperator`.

    Raises
    ------
    InputError
        The grid has another number of axes or no square voxels, or the backend is unknown.
    BackendError
        'astra' is asked for where there is no GPU or no package astra.
    """

    def __init__(self, domain: Grid, geometry: ParallelGeometry, backend: str = "auto") -> None:
        _check_square(domain)
        self.geometry = geometry
        super().__init__(domain, backend)

    def refined(self, factor: int) -> ParallelBeam:
        """Return the operator with `factor` times finer voxels and columns; in 3-D rows too.

        Raises
        ------
        InputError
            The operator is restricted.
        """
        return ParallelBeam(self._refined_grid(factor), self.geometry.refined(factor), self.backend)

    def _windows_of(self, box: Patch) -> DetectorWindows:
        plane = Grid(self._grid.shape[-2:], self._sides_mm[-2:])
        part = Patch(box.offset[-2:], box.shape[-2:])
        num_views, num_columns = self.geometry.num_views, self.geometry.num_columns
        windows = (
            DetectorWindows.whole(num_views, (num_columns,))
            if self._is_whole(box)
            else self.geometry.windows(plane, part)
        )
        rows = np.broadcast_to(
            np.array(box.offset[:-2], np.int64), (num_views, len(box.offset) - 2)
        )
        offsets = np.concatenate([rows, windows.offsets], axis=1)
        return DetectorWindows(offsets, (*box.shape[:-2], *windows.shape))

    def _project(self, x: Real) -> Real:
        planes = np.moveaxis(x.reshape(-1, *x.shape[-2:]), 0, -1)
        num_columns = self.windows.shape[-1]
        windows = joseph_parallel.project(planes, self._rays(), self._box.offset[-2:], num_columns)
        by_plane = np.moveaxis(windows, -1, 0).reshape(*x.shape[:-2], *windows.shape[:-1])
        return np.moveaxis(by_plane, -2, 1)

    def _backproject(self, y: Real) -> Real:
        by_plane = np.moveaxis(y, 1, -2)
        windows = np.moveaxis(by_plane.reshape(-1, *by_plane.shape[-2:]), 0, -1)
        plane = self._box.shape[-2:]
        planes = joseph_parallel.backproject(windows, self._rays(), self._box.offset[-2:], plane)
        return np.moveaxis(planes, -1, 0).reshape(len(y), *self._box.shape)

    def _rays(self) -> ParallelRays:
        side_mm = self._sides_mm[-1]
        return ParallelRays(
            directions=self.geometry.directions,
            axis_column=self.geometry.axis_column,
            column_voxels=self.geometry.column_mm / side_mm,
            first_columns=np.ascontiguousarray(self.windows.offsets[:, -1]),
            shape=np.array(self._grid.shape[-2:]),
            voxel_mm=side_mm,
        )

    def _astra(self) -> AstraProjector:
        faces_mm = self._faces_mm()
        depth_mm = self._sides_mm[0]
        if len(faces_mm) == 2:
            faces_mm = np.concatenate([[[-depth_mm / 2, depth_mm / 2]], faces_mm])
        sin, cos = self.geometry.directions.T
        zero, width_mm = np.zeros_like(sin), self.geometry.column_mm
        middle = self.windows.offsets[:, -1] + (self.windows.shape[-1] - 1) / 2
        s = (middle - self.geometry.axis_column) * width_mm
        ray, centre = (sin, -cos, zero), (s * cos, s * sin, zero + faces_mm[0].mean())
        u, v = (width_mm * cos, width_mm * sin, zero), (zero, zero, zero + depth_mm)
        vectors = np.stack([*ray, *centre, *u, *v], axis=1)
        shape = (1, *self._box.shape)[-3:]
        detector_shape = (shape[0], self.windows.shape[-1])
        return AstraProjector("parallel3d_vec", vectors, detector_shape, shape, faces_mm)


def _check_square(domain: Grid) -> None:
    sides = domain.voxel_mm
    square = sides is not None and max(sides[-2:]) <= min(sides[-2:]) * (1 + 1e-6)
    if domain.num_axes not in (2, 3) or not square:
        msg = (
            "domain must have the axes (y, x) or (z, y, x) and voxels square in y and x, of a "
            f"known size, got shape {domain.shape}, voxel_mm {sides}; resample the volume"
        )
        raise InputError(msg)
