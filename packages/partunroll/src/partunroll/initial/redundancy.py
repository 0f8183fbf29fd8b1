"""redundancy: how much each ray of a circular scan counts, as most are measured twice, or once.

The line of a ray in the plane of the orbit is met a second time from the other side: a source at
angle β whose ray is turned by γ from the centre meets it again at β + π + 2γ, turned by −γ. The
weights of both must sum to one.

- A full circle: ½ each.
- A full circle whose detector reaches less far on one side than the object (a displaced
  detector): rays within the short side share smoothly, those beyond it count once (Wang 2002).
  Errors that opposite views cancel in a full circle then stay, of the cone's angle and of rows
  that are turned in the detector: 0.1 and 0.14 voxels for a ball 2° above the orbit's plane,
  with rows turned by 1.7°, against 0.02.
- An arc of at least 180° and the fan's angle (a short scan): Parker's weights (Parker 1982), for
  longer arcs with Silver's wider fan (Silver 2000).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partunroll.errors import InputError

_ENOUGH = 0.9  # of what the other side sees of the object: no displaced detector; our choice

if TYPE_CHECKING:
    from partunroll.initial.circular_orbit import CircularOrbit


def ray_weights(orbit: CircularOrbit, fans_rad: np.ndarray, needed_rad: float) -> np.ndarray:
    """Return the weight of every ray, ``(views, columns)``.

    Parameters
    ----------
    orbit
        Where the sources are.
    fans_rad
        γ of every ray, counter-clockwise about the orbit's axis, ``(views, columns)``.
    needed_rad
        The |γ| beyond which no ray meets the object.

    Raises
    ------
    InputError
        The arc is shorter than 180° and the fan's angle, or the detector ends beside the axis.
    """
    if orbit.is_full:
        return _full_circle(fans_rad, needed_rad)
    meeting = np.abs(fans_rad) <= needed_rad
    widest = float(np.abs(fans_rad[meeting]).max()) if meeting.any() else 0.0
    step = orbit.arc_rad / (len(fans_rad) - 1)
    if orbit.arc_rad + step < np.pi + 2.0 * widest:
        msg = (
            f"views must cover 360°, or 180° and the fan's angle, "
            f"{np.degrees(np.pi + 2.0 * widest):.1f}°, got {np.degrees(orbit.arc_rad):.1f}°; "
            "use least squares"
        )
        raise InputError(msg)
    half_over = max(0.5 * (orbit.arc_rad - np.pi), widest)
    return _parker(orbit.angles_rad[:, None], fans_rad.clip(-half_over, half_over), half_over)


def is_displaced(orbit: CircularOrbit, weights: np.ndarray) -> bool:
    """Return whether weights of `ray_weights` are those of a displaced detector."""
    return orbit.is_full and bool(np.any(weights != 0.5))


def _full_circle(fans_rad: np.ndarray, needed_rad: float) -> np.ndarray:
    low, high = -float(fans_rad.min(axis=1).max()), float(fans_rad.max(axis=1).min())
    short, long = min(low, high), max(low, high)
    if short <= 0:
        msg = (
            "detector must see the axis of the orbit, got one that ends "
            f"{np.degrees(-short):.1f}° beside it; use least squares"
        )
        raise InputError(msg)
    if short > _ENOUGH * min(long, needed_rad):
        return np.full(fans_rad.shape, 0.5)
    towards = fans_rad if high > low else -fans_rad
    return 0.5 + 0.5 * np.sin(0.5 * np.pi * (towards / short).clip(-1.0, 1.0))


def _parker(angles_rad: np.ndarray, fans_rad: np.ndarray, half_over_rad: float) -> np.ndarray:
    """Return Parker's weights for an arc of π + 2 `half_over_rad`."""
    rising, falling = half_over_rad - fans_rad, half_over_rad + fans_rad
    left = np.pi + 2.0 * half_over_rad - angles_rad
    share = np.minimum(_part(angles_rad, rising), _part(left, falling))
    return np.sin(0.5 * np.pi * share.clip(0.0, 1.0)) ** 2


def _part(done: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``done / (2 whole)``, 1 where there is nothing to share."""
    done, whole = np.broadcast_arrays(done, whole)
    return np.divide(done, 2.0 * whole, out=np.ones(done.shape), where=whole > 1e-12)
