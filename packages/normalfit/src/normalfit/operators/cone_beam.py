"""ConeBeam: line integrals in mm along the rays of a cone-beam scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.errors import InputError
from normalfit.operators import joseph_cone_fast, joseph_cone_general, joseph_fan
from normalfit.operators.astra_backend import AstraProjector
from normalfit.operators.detector_windows import DetectorWindows
from normalfit.operators.joseph_ray import ConeRays
from normalfit.operators.projection_operator import ProjectionOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.grid import Grid, Patch
    from normalfit.operators.cone_geometry import ConeGeometry

    Real = NDArray[np.floating[Any]]


class ConeBeam(ProjectionOperator):
    """Cone-beam projector; a fan beam is one slice and one detector row.

    Its range is ``(views, rows, columns)``. On the CPU it is Joseph's projector, bitwise the
    same for any number of threads. Rays begin at the source but do not end at the detector, so
    the volume should lie between the two.

    Parameters
    ----------
    domain
        Grid ``(z, y, x)`` with cubic voxels, centred on the origin of the geometry.
    geometry
        Source and detector of every view.
    backend
        'auto', 'astra' or 'numba', see `ProjectionOperator`.

    Raises
    ------
    InputError
        The grid is not three-dimensional with cubic voxels, a source lies inside the volume,
        or the backend is unknown.
    BackendError
        'astra' is asked for where there is no GPU or no package astra.
    """

    def __init__(self, domain: Grid, geometry: ConeGeometry, backend: str = "auto") -> None:
        _check_cubic(domain)
        _check_sources_outside(domain, geometry)
        self.geometry = geometry
        self._is_fast = joseph_cone_fast.covers(geometry)
        self._is_fan = joseph_fan.covers(geometry, domain.shape[0])
        super().__init__(domain, backend)

    def refined(self, factor: int) -> ConeBeam:
        """Return the operator with `factor` times finer voxels and detector pixels.

        Raises
        ------
        InputError
            The operator is restricted.
        """
        return ConeBeam(self._refined_grid(factor), self.geometry.refined(factor), self.backend)

    def _windows_of(self, box: Patch) -> DetectorWindows:
        if self._is_whole(box):
            return DetectorWindows.whole(self.geometry.num_views, self.geometry.detector_shape)
        return self.geometry.windows(self._grid, box)

    def _project(self, x: Real) -> Real:
        rays, offset = self._rays(), self._box.offset[::-1]
        if self._is_fan:
            return joseph_fan.project(x, rays, offset)
        project = joseph_cone_fast.project if self._is_fast else joseph_cone_general.project
        return np.stack([project(volume, rays, offset) for volume in x])

    def _backproject(self, y: Real) -> Real:
        rays, offset, shape = self._rays(), self._box.offset[::-1], self._box.shape[::-1]
        if self._is_fan:
            return joseph_fan.backproject(y, rays, offset, shape)
        fast = self._is_fast
        back = joseph_cone_fast.backproject if fast else joseph_cone_general.backproject
        return np.stack([back(windows, rays, offset, shape) for windows in y])

    def _rays(self) -> ConeRays:
        return ConeRays(
            vectors=np.array(self.geometry.vectors),
            detector_shape=np.array(self.geometry.detector_shape),
            window_offsets=self.windows.offsets,
            window_shape=np.array(self.windows.shape),
            shape=np.array(self._grid.shape[::-1]),
            voxel_mm=self._sides_mm[0],
        )

    def _astra(self) -> AstraProjector:
        seen = self.geometry.windowed(self.windows)
        faces_mm = self._faces_mm()
        return AstraProjector(
            "cone_vec", seen.vectors, seen.detector_shape, self._box.shape, faces_mm
        )


def _check_cubic(domain: Grid) -> None:
    sides = domain.voxel_mm
    if domain.num_axes != 3 or sides is None or max(sides) > min(sides) * (1 + 1e-6):
        msg = (
            "domain must have three axes (z, y, x) and cubic voxels of a known size, "
            f"got shape {domain.shape}, voxel_mm {sides}; resample the volume"
        )
        raise InputError(msg)


def _check_sources_outside(domain: Grid, geometry: ConeGeometry) -> None:
    half = np.array(domain.shape[::-1]) / 2 * np.array(domain.voxel_mm)
    inside = (np.abs(geometry.source) <= half).all(axis=1)
    if inside.any():
        view = int(np.argmax(inside))
        msg = (
            f"source must lie outside the volume of {(2 * half).tolist()} mm (x, y, z), "
            f"got {geometry.source[view].tolist()} in view {view}; enlarge the orbit"
        )
        raise InputError(msg)
