"""CircularOrbit: the circle that the sources of a cone-beam scan lie on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partunroll.errors import InputError

MAX_DEVIATION = 0.01  # of the radius: an orbit that leaves its circle further is no circle
# Views leave no gap if neighbours are within 4 mean gaps (golden-angle orders stay below 3) or
# within 10°, which many views at random angles need; our choice.
MAX_MEAN_GAPS = 4.0
MAX_GAP_RAD = np.deg2rad(10.0)


@dataclass(frozen=True)
class CircularOrbit:
    """A full circle of source positions.

    Attributes
    ----------
    axis
        Unit normal of the circle's plane ``(x, y, z)``.
    centre_mm
        Centre of the circle.
    increments_rad
        Angle that each view stands for: half of the way to both neighbours; they sum to 2π.
    """

    axis: np.ndarray
    centre_mm: np.ndarray
    increments_rad: np.ndarray


def fit_circular_orbit(sources_mm: np.ndarray) -> CircularOrbit:
    """Return the circle through the sources ``(views, 3)``, in any order of the views.

    Raises
    ------
    InputError
        There are fewer than three views, they lie on no circle, or they leave part of it out.
    """
    if len(sources_mm) < 3:
        msg = f"a circular orbit must have at least 3 views, got {len(sources_mm)}"
        raise InputError(msg)
    mean = sources_mm.mean(axis=0)
    first, second, axis = np.linalg.svd(sources_mm - mean)[2]
    plane = (sources_mm - mean) @ np.stack([first, second], axis=1)
    centre, radius = _fit_circle(plane)
    off_circle = np.abs(np.hypot(*(plane - centre).T) - radius).max()
    off_plane = np.abs((sources_mm - mean) @ axis).max()
    if max(off_circle, off_plane) > MAX_DEVIATION * radius:
        msg = (
            f"sources must lie on a circle within {MAX_DEVIATION:.0%} of its radius, got "
            f"{max(off_circle, off_plane):.3g} mm off one of {radius:.3g} mm; use least squares"
        )
        raise InputError(msg)
    angles = np.arctan2(*(plane - centre).T[::-1])
    increments = angular_increments(angles, 2.0 * np.pi)
    return CircularOrbit(axis, mean + centre[0] * first + centre[1] * second, increments)


def angular_increments(angles_rad: np.ndarray, period_rad: float) -> np.ndarray:
    """Return the angle that each view stands for: half of the way to both its neighbours.

    Angles are taken modulo `period_rad`, which is what the increments sum to.

    Raises
    ------
    InputError
        The views leave out part of the period.
    """
    turned = np.mod(angles_rad, period_rad)
    order = np.argsort(turned, kind="stable")
    ordered = turned[order]
    gaps = np.diff(ordered, append=ordered[0] + period_rad)
    if gaps.max() > max(MAX_MEAN_GAPS * period_rad / len(gaps), MAX_GAP_RAD):
        msg = (
            f"views must cover {np.degrees(period_rad):.0f}° without gaps, got a gap of "
            f"{np.degrees(gaps.max()):.1f}° between {len(gaps)} views; use least squares"
        )
        raise InputError(msg)
    increments = np.empty_like(gaps)
    increments[order] = 0.5 * (gaps + np.roll(gaps, 1))
    return increments


def _fit_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre and radius of the least-squares circle through ``(n, 2)`` points."""
    equations = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(equations, np.sum(points**2, axis=1), rcond=None)[0]
    centre = solution[:2]
    return centre, float(np.sqrt(max(solution[2] + centre @ centre, 0.0)))
