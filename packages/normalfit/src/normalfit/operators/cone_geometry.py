"""ConeGeometry: where the source and the detector stand in every view of a cone-beam scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normalfit.errors import InputError
from normalfit.operators.detector_windows import DetectorWindows, footprint_corners_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from normalfit.grid import Grid, Patch


@dataclass(frozen=True, eq=False)
class ConeGeometry:
    """Source and detector of every view, in ASTRA's ``cone_vec`` convention.

    The world is centred on the volume; its axes x, y, z follow the last, middle and first axis
    of a volume ``(z, y, x)``. Row r, column c of the detector lies at
    ``detector + (c - (columns - 1) / 2) u + (r - (rows - 1) / 2) v``.

    Parameters
    ----------
    vectors
        Shape ``(views, 12)``, in mm: source xyz, detector centre xyz, u (step from one column
        to the next) xyz, v (step from one row to the next) xyz. Kept as read-only float64.
    detector_shape
        ``(rows, columns)``.

    Raises
    ------
    InputError
        A number is not finite, u and v are parallel or zero, the source lies in the plane of
        the detector, or a shape is wrong.
    """

    vectors: NDArray[np.float64]
    detector_shape: tuple[int, int]

    def __post_init__(self) -> None:
        vectors = np.array(self.vectors, np.float64)
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "detector_shape", tuple(int(n) for n in self.detector_shape))
        _check_arrays(vectors, self.detector_shape)
        _check_views(self.source, self.detector, self.u, self.v)
        vectors.flags.writeable = False

    @classmethod
    def circular_orbit(
        cls,
        *,
        num_views: int,
        source_origin_mm: float,
        origin_detector_mm: float,
        detector_shape: tuple[int, int],
        pixel_mm: tuple[float, float],
        angle_start_deg: float = 0.0,
        angle_range_deg: float = 360.0,
    ) -> ConeGeometry:
        """Return a circle around the z axis, with ASTRA's angles.

        The source of the view at angle θ is ``source_origin_mm · (sin θ, -cos θ, 0)``, u points
        along ``(cos θ, sin θ, 0)`` and v along z. The angles are evenly spaced, without the end
        of the range.

        Parameters
        ----------
        num_views
            Number of angles.
        source_origin_mm, origin_detector_mm
            Distances of the source and of the detector from the axis of rotation.
        detector_shape
            ``(rows, columns)``.
        pixel_mm
            Pixel side lengths ``(row, column)``: along v and along u.
        angle_start_deg, angle_range_deg
            First angle, and the range that the views divide evenly.

        Raises
        ------
        InputError
            A count or a length is not positive, or a number is not finite.
        """
        lengths = {
            "num_views": num_views,
            "source_origin_mm": source_origin_mm,
            "origin_detector_mm": origin_detector_mm,
            "pixel_mm[0]": pixel_mm[0],
            "pixel_mm[1]": pixel_mm[1],
        }
        wrong = [f"{name} = {value}" for name, value in lengths.items() if not value > 0]
        if wrong:
            msg = f"circular orbit must have positive counts and lengths, got {', '.join(wrong)}"
            raise InputError(msg)
        angles = np.deg2rad(angle_start_deg + angle_range_deg * np.arange(num_views) / num_views)
        sin, cos, zero = np.sin(angles), np.cos(angles), np.zeros(num_views)
        outward = np.stack([sin, -cos, zero], axis=1)
        along = np.stack([cos, sin, zero], axis=1)
        up = np.broadcast_to([0.0, 0.0, 1.0], outward.shape)
        parts = [
            source_origin_mm * outward,
            -origin_detector_mm * outward,
            pixel_mm[1] * along,
            pixel_mm[0] * up,
        ]
        return cls(np.concatenate(parts, axis=1), detector_shape)

    @property
    def num_views(self) -> int:
        """Number of views."""
        return len(self.vectors)

    @property
    def source(self) -> NDArray[np.float64]:
        """Source of every view, ``(views, 3)``, mm."""
        return self.vectors[:, 0:3]

    @property
    def detector(self) -> NDArray[np.float64]:
        """Centre of the detector of every view, ``(views, 3)``, mm."""
        return self.vectors[:, 3:6]

    @property
    def u(self) -> NDArray[np.float64]:
        """Step from one column to the next, ``(views, 3)``, mm."""
        return self.vectors[:, 6:9]

    @property
    def v(self) -> NDArray[np.float64]:
        """Step from one row to the next, ``(views, 3)``, mm."""
        return self.vectors[:, 9:12]

    def refined(self, factor: int) -> ConeGeometry:
        """Return the same detector with `factor` times as many rows and columns."""
        vectors = self.vectors.copy()
        vectors[:, 6:12] /= factor
        rows, columns = self.detector_shape
        return ConeGeometry(vectors, (factor * rows, factor * columns))

    def windowed(self, windows: DetectorWindows) -> ConeGeometry:
        """Return the geometry whose detector is one window per view."""
        skipped = np.array(windows.shape) - np.array(self.detector_shape)
        rows, columns = (windows.offsets + skipped / 2).T[:, :, None]
        vectors = self.vectors.copy()
        vectors[:, 3:6] += rows * self.v + columns * self.u
        return ConeGeometry(vectors, (windows.shape[0], windows.shape[1]))

    def windows(self, grid: Grid, patch: Patch) -> DetectorWindows:
        """Return the pixels whose rays can meet a patch of the volume's grid.

        They are bounded by the projections of the patch's corners. Where a corner is not in
        front of the source, the whole detector is returned.
        """
        corners = footprint_corners_mm(grid, patch)[:, ::-1]  # xyz
        axes = np.stack([self.u, self.v, self.detector - self.source], axis=-1)
        steps = np.linalg.solve(axes[:, None], (corners - self.source[:, None])[..., None])[..., 0]
        if steps[..., 2].min() <= 0:
            return DetectorWindows.whole(self.num_views, self.detector_shape)
        centre = (np.array(self.detector_shape) - 1) / 2
        pixels = steps[..., 1::-1] / steps[..., 2:] + centre
        return DetectorWindows.around(pixels.min(axis=1), pixels.max(axis=1), self.detector_shape)


def _check_arrays(vectors: NDArray[np.float64], detector_shape: tuple[int, int]) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != 12 or len(vectors) == 0:
        msg = f"vectors must have the shape (views, 12) with at least one view, got {vectors.shape}"
        raise InputError(msg)
    if len(tuple(detector_shape)) != 2 or min(detector_shape) < 1:
        msg = f"detector_shape must be (rows, columns), at least one of each, got {detector_shape}"
        raise InputError(msg)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        view = broken[0]
        msg = f"vectors must be finite, got {vectors[view].tolist()} in view {view}"
        raise InputError(msg)


def _check_views(
    source: NDArray[np.float64],
    detector: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
) -> None:
    normal = np.cross(u, v)
    area = np.linalg.norm(normal, axis=1)
    flat = area <= 1e-9 * np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    if flat.any():
        view = int(np.argmax(flat))
        msg = (
            "u and v must be two directions that span the detector, "
            f"got u = {u[view].tolist()}, v = {v[view].tolist()} in view {view}"
        )
        raise InputError(msg)
    ray = detector - source
    distance = np.abs((ray * normal).sum(axis=1)) / area
    inside = distance <= 1e-9 * np.linalg.norm(ray, axis=1)
    if inside.any():
        view = int(np.argmax(inside))
        msg = (
            "source must lie outside the plane of the detector, got source "
            f"{source[view].tolist()}, detector {detector[view].tolist()} in view {view}"
        )
        raise InputError(msg)
