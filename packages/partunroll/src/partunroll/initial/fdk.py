"""fdk: filtered backprojection of circular cone-beam scans (Feldkamp, Davis & Kress 1984)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from partunroll.errors import InputError
from partunroll.initial.circular_orbit import CircularOrbit, fit_circular_orbit
from partunroll.initial.ramp_filter import filter_rows
from partunroll.initial.redundancy import is_displaced, ray_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normalfit.grid import Grid
    from normalfit.operators.cone_beam import ConeBeam

SLAB_VOXELS = 2**17  # a dozen temporaries of this size stay in the cache of a CPU core
MAX_SLANT = 0.1  # sine of the largest angle of rows and normal against the orbit's plane


def fdk(
    operator: ConeBeam,
    y: torch.Tensor,
    window: str = "ramp",
    cutoff: float = 1.0,
    *,
    support_mm: float | None = None,
) -> torch.Tensor:
    """Return the FDK reconstruction of cone-beam projections over a circle, or a short scan.

    The orbit may have any plane, radius and centre, the detector may be shifted or turned by
    90° in its plane, the views may be uneven and in any order, all around or along an arc of
    180° and the fan's angle. With source ``a``, unit normal ``n`` and row direction ``e`` of the
    detector at distance D, detector coordinates ``(s, t)`` from the foot of the source, the
    ramp's kernel h and the weights w of `ray_weights`, the result is

        x(r) = ∫ dλ U⁻² ∫ ds p(s, t_r) w |a'·(D e − s n)| / (D √(D² + s² + t²)) h(s_r − s),

    ``U = (r − a)·n / D``: exact in the plane of the orbit for all of these, and Feldkamp's
    approximation (his cosine weight) elsewhere.

    Parameters
    ----------
    operator
        Its geometry and its domain are used, its projector is not.
    y
        Line integrals ``(..., views, rows, columns)``, real, in the operator's unit.
    window, cutoff
        As for `filter_rows`.
    support_mm
        How far from the axis of the orbit the object reaches; None: as far as the domain.

    Returns
    -------
    torch.Tensor
        ``(..., z, y, x)``, dtype and device of `y`. Memory: the result, two copies of one
        sample's projections, and slabs of 2¹⁷ voxels.

    Raises
    ------
    InputError
        The projections are not the operator's, the orbit is neither a full circle nor a short
        scan, or the detector is tilted against it.
    """
    if tuple(y.shape[-3:]) != operator.range.shape or y.is_complex():
        msg = (
            f"projections must be real and of the trailing shape {operator.range.shape}, "
            f"got {y.dtype} of {tuple(y.shape)}"
        )
        raise InputError(msg)
    views = _views(operator, support_mm)
    batch = y.detach().reshape(-1, *operator.range.shape)
    volumes = []
    for projections in batch:
        rows = projections.mT if views.turned else projections
        filtered = _weigh_and_filter(rows, views, window, cutoff)
        volumes.append(_backproject(filtered, views, operator.domain))
    return torch.stack(volumes).reshape(*y.shape[:-3], *operator.domain.shape)


def check_circle(operator: ConeBeam) -> float:
    """Refuse a scan that `fdk` cannot reconstruct; return how far from the axis its domain reaches.

    Raises
    ------
    InputError
        The orbit is neither a full circle nor a short scan, or the detector is tilted against it.
    """
    return _views(operator).support_mm


@dataclass(frozen=True)
class _Views:
    """Detector frames of all views: `along` follows the orbit, `across` its axis."""

    turned: bool
    source: np.ndarray
    normal: np.ndarray
    along: np.ndarray
    across: np.ndarray
    distance: np.ndarray
    spacing: tuple[float, float]
    centre: np.ndarray  # (views, 2): detector centre from the foot of the source, along, across
    sweep: np.ndarray  # (views, 3): movement of the source that the view stands for
    shares: np.ndarray  # (views, columns): how much each ray counts
    padding: tuple[int, int]  # columns beyond the detector where filtered rays are needed, too
    support_mm: float


def _views(operator: ConeBeam, support_mm: float | None = None) -> _Views:
    vectors = np.asarray(operator.geometry.vectors, dtype=np.float64)
    source, centre, u, v = (vectors[:, k : k + 3] for k in (0, 3, 6, 9))
    orbit = fit_circular_orbit(source)
    turned = bool(np.abs(_unit(u) @ orbit.axis).max() > np.abs(_unit(v) @ orbit.axis).max())
    along, across = (v, u) if turned else (u, v)
    spacing = (_length(along), _length(across))
    along, across = _unit(along), _unit(across)
    normal = _unit(np.cross(along, across))
    normal *= np.sign(_dot(centre - source, normal))[:, None]
    _check_upright(orbit, along, across, normal)
    arm = centre - source
    distance, foot = _dot(arm, normal), np.stack([_dot(arm, along), _dot(arm, across)], axis=1)
    num_along = operator.geometry.detector_shape[0 if turned else 1]
    columns = _positions(num_along, spacing[0]) + foot[:, :1]
    reach_mm = _reach_mm(operator.domain, orbit) if support_mm is None else support_mm
    shares = ray_weights(
        orbit,
        _fans(orbit, source, (distance[:, None], normal), (columns, along)),
        _widest(orbit, source, reach_mm),
    )
    padding = _padding(foot[:, 0], spacing[0]) if is_displaced(orbit, shares) else (0, 0)
    return _Views(
        turned=turned,
        source=source,
        normal=normal,
        along=along,
        across=across,
        distance=distance,
        spacing=spacing,
        centre=foot + np.array([0.5 * (padding[1] - padding[0]) * spacing[0], 0.0]),
        sweep=np.cross(orbit.axis, source - orbit.centre_mm) * orbit.increments_rad[:, None],
        shares=np.pad(shares, ((0, 0), padding)),
        padding=padding,
        support_mm=reach_mm,
    )


def _fans(
    orbit: CircularOrbit, source: np.ndarray, *parts: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return how far rays, sums of lengths times directions, are turned from the centre."""
    inwards = orbit.centre_mm - source
    sideways = np.cross(orbit.axis, inwards)
    aside = sum(length * _dot(way, sideways)[:, None] for length, way in parts)
    ahead = sum(length * _dot(way, inwards)[:, None] for length, way in parts)
    return np.asarray(np.arctan2(aside, ahead))


def _padding(foot_mm: np.ndarray, spacing_mm: float) -> tuple[int, int]:
    """Return the columns that a displaced detector lacks on either side to be centred."""
    missing = round(2.0 * abs(float(foot_mm.mean())) / spacing_mm)
    return (missing, 0) if foot_mm.mean() > 0 else (0, missing)


def _widest(orbit: CircularOrbit, source: np.ndarray, reach_mm: float) -> float:
    """Return how far a ray may be turned from the centre that still meets the object."""
    radius = float(np.linalg.norm(orbit.centre_mm - source, axis=1).mean())
    return float(np.arcsin(min(1.0, reach_mm / radius)))


def _reach_mm(grid: Grid, orbit: CircularOrbit) -> float:
    """Return the largest distance of a corner of the grid from the axis of the orbit."""
    half = 0.5 * np.array(grid.shape[::-1]) * np.array((grid.voxel_mm or (1.0,) * 3)[::-1])
    corners = half * np.array(list(itertools.product((-1, 1), repeat=3))) - orbit.centre_mm
    along = (corners @ orbit.axis)[:, None] * orbit.axis
    return float(np.linalg.norm(corners - along, axis=1).max())


def _check_upright(
    orbit: CircularOrbit, along: np.ndarray, across: np.ndarray, normal: np.ndarray
) -> None:
    slants = [np.abs(along @ orbit.axis), np.abs(normal @ orbit.axis), np.abs(_dot(along, across))]
    if np.max(slants) > MAX_SLANT:
        msg = (
            "detector rows or columns must follow the plane of the orbit within "
            f"{np.degrees(np.arcsin(MAX_SLANT)):.0f}°, got "
            f"{np.degrees(np.arcsin(min(np.max(slants), 1.0))):.0f}°; use least squares"
        )
        raise InputError(msg)


def _weigh_and_filter(
    projections: torch.Tensor, views: _Views, window: str, cutoff: float
) -> torch.Tensor:
    num_across, num_along = projections.shape[1], views.shares.shape[1]
    filtered = projections.new_empty((len(projections), num_across, num_along))
    for i, projection in enumerate(projections):
        s = _positions(num_along, views.spacing[0]) + views.centre[i, 0]
        t = _positions(num_across, views.spacing[1])[:, None] + views.centre[i, 1]
        distance = views.distance[i]
        sweep = views.sweep[i]
        speed = np.abs(distance * (sweep @ views.along[i]) - (sweep @ views.normal[i]) * s)
        weight = views.shares[i] * speed / (distance * np.sqrt(distance**2 + s**2 + t**2))
        weighted = F.pad(projection, views.padding) * torch.as_tensor(weight).to(projection)
        filtered[i] = filter_rows(weighted, views.spacing[0], window, cutoff)
    return filtered


def _backproject(filtered: torch.Tensor, views: _Views, grid: Grid) -> torch.Tensor:
    volume = filtered.new_zeros(grid.shape)
    for z, slab in _slabs(volume, grid):
        y, x = (_axis(grid, axis, filtered) for axis in (1, 2))
        for i, image in enumerate(filtered):
            slab += _view_onto(image, i, views, (x[None, None, :], y[None, :, None], z))
    return volume


def _slabs(volume: torch.Tensor, grid: Grid) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    z = _axis(grid, 0, volume)
    thickness = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], thickness):
        part = slice(start, start + thickness)
        yield z[part, None, None], volume[part]


def _view_onto(
    image: torch.Tensor, i: int, views: _Views, voxels: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Return one filtered view at the voxels, divided by U²."""

    def project(direction: np.ndarray) -> torch.Tensor:
        a = [float(part) for part in direction[i]]
        x, y, z = voxels
        return (a[2] * z - float(views.source[i] @ direction[i])) + a[1] * y + a[0] * x

    depth = project(views.normal).clamp_min(1e-6 * views.distance[i])
    magnification = views.distance[i] / depth
    places = []
    for k, direction in enumerate((views.along, views.across)):
        place = (project(direction) * magnification - views.centre[i, k]) / views.spacing[k]
        places.append(place * (2.0 / image.shape[1 - k]))  # grid_sample: −1 … 1 edge to edge
    lookup = torch.stack(places, dim=-1).reshape(1, 1, -1, 2)
    values = F.grid_sample(image[None, None], lookup, align_corners=False)
    return values.reshape(depth.shape) * magnification**2


def _axis(grid: Grid, axis: int, like: torch.Tensor) -> torch.Tensor:
    side = (grid.voxel_mm or (1.0,) * grid.num_axes)[axis]
    return torch.as_tensor(_positions(grid.shape[axis], side)).to(like)


def _positions(num_samples: int, spacing: float) -> np.ndarray:
    return (np.arange(num_samples) - 0.5 * (num_samples - 1)) * spacing


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=-1)


def _unit(a: np.ndarray) -> np.ndarray:
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def _length(a: np.ndarray) -> float:
    return float(np.linalg.norm(a, axis=-1).mean())
