"""CircularOrbit: the circle that the sources of a cone-beam scan lie on, or the arc of it."""

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
    """Source positions on a circle, all around or along an arc of more than 180°.

    Attributes
    ----------
    axis
        Unit normal of the circle's plane ``(x, y, z)``.
    centre_mm
        Centre of the circle.
    angles_rad
        Angle of each view about the axis, from the first end of the arc on; from an arbitrary
        view on a full circle.
    increments_rad
        Angle that each view stands for: half of the way to both neighbours; at the ends of an
        arc to the one.
    arc_rad
        What the increments sum to: 2π on a full circle.
    """

    axis: np.ndarray
    centre_mm: np.ndarray
    angles_rad: np.ndarray
    increments_rad: np.ndarray
    arc_rad: float

    @property
    def is_full(self) -> bool:
        """Whether the views go all around."""
        return self.arc_rad == 2.0 * np.pi


def fit_circular_orbit(sources_mm: np.ndarray) -> CircularOrbit:
    """Return the circle through the sources ``(views, 3)``, in any order of the views.

    Raises
    ------
    InputError
        There are fewer than three views, they lie on no circle, or leave out more than one part
        of it, or half of it.
    """
    if len(sources_mm) < 3:
        msg = f"a circular orbit must have at least 3 views, got {len(sources_mm)}"
        raise InputError(msg)
    mean = sources_mm.mean(axis=0)
    first, second, axis = np.linalg.svd(sources_mm - mean)[2]
    axis = np.cross(first, second)  # or angles would be counted from either side
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
    angles, increments, arc = _arc(np.arctan2(*(plane - centre).T[::-1]))
    middle = mean + centre[0] * first + centre[1] * second
    return CircularOrbit(axis, middle, angles, increments, arc)


def angular_increments(angles_rad: np.ndarray, period_rad: float) -> np.ndarray:
    """Return the angle that each view stands for: half of the way to both its neighbours.

    Angles are taken modulo `period_rad`, which is what the increments sum to.

    Raises
    ------
    InputError
        The views leave out part of the period.
    """
    order, _, gaps = _ordered(angles_rad, period_rad)
    if gaps.max() > _allowed_gap(period_rad, len(gaps)):
        msg = (
            f"views must cover {np.degrees(period_rad):.0f}° without gaps, got a gap of "
            f"{np.degrees(gaps.max()):.1f}° between {len(gaps)} views; use least squares"
        )
        raise InputError(msg)
    increments = np.empty_like(gaps)
    increments[order] = 0.5 * (gaps + np.roll(gaps, 1))
    return increments


def _arc(angles_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return angles from the beginning of the arc on, increments, and the length of the arc."""
    turn = 2.0 * np.pi
    order, ordered, gaps = _ordered(angles_rad, turn)
    if gaps.max() <= _allowed_gap(turn, len(gaps)):
        return np.mod(angles_rad, turn), angular_increments(angles_rad, turn), turn
    last = int(gaps.argmax())  # the arc begins behind the largest gap
    arc, inner = turn - gaps[last], np.delete(np.roll(gaps, -last), 0)
    if arc < np.pi or inner.max() > _allowed_gap(arc, len(inner)):
        worst = gaps[last] if arc < np.pi else inner.max()
        msg = (
            f"views must cover 360° without gaps, or an arc of more than 180°, got a gap of "
            f"{np.degrees(worst):.1f}° between {len(gaps)} views; use least squares"
        )
        raise InputError(msg)
    angles = np.mod(angles_rad - ordered[(last + 1) % len(ordered)], turn)
    increments = np.empty_like(gaps)
    increments[np.roll(order, -last - 1)] = 0.5 * (np.append(0.0, inner) + np.append(inner, 0.0))
    return angles, increments, float(arc)


def _ordered(
    angles_rad: np.ndarray, period_rad: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the order of the angles, them in it, and the gap behind each."""
    turned = np.mod(angles_rad, period_rad)
    order = np.argsort(turned, kind="stable")
    ordered = turned[order]
    return order, ordered, np.diff(ordered, append=ordered[0] + period_rad)


def _allowed_gap(length_rad: float, num_gaps: int) -> float:
    return float(max(MAX_MEAN_GAPS * length_rad / num_gaps, MAX_GAP_RAD))


def _fit_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre and radius of the least-squares circle through ``(n, 2)`` points."""
    equations = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(equations, np.sum(points**2, axis=1), rcond=None)[0]
    centre = solution[:2]
    return centre, float(np.sqrt(max(solution[2] + centre @ centre, 0.0)))
