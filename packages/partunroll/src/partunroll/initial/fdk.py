"""fdk: filtered backprojection of circular cone-beam scans (Feldkamp, Davis & Kress 1984)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from partunroll.errors import InputError
from partunroll.initial.circular_orbit import CircularOrbit, fit_circular_orbit
from partunroll.initial.ramp_filter import filter_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normalfit.grid import Grid
    from normalfit.operators.cone_beam import ConeBeam
    from normalfit.operators.cone_geometry import ConeGeometry

SLAB_VOXELS = 2**17  # a dozen temporaries of this size stay in the cache of a CPU core
MAX_SLANT = 0.1  # sine of the largest angle of rows and normal against the orbit's plane


def fdk(
    operator: ConeBeam, y: torch.Tensor, window: str = "ramp", cutoff: float = 1.0
) -> torch.Tensor:
    """Return the FDK reconstruction of cone-beam projections over a full circle.

    The orbit may have any plane, radius and centre, the detector may be shifted or turned by
    90° in its plane, the views may be uneven and in any order. With source ``a``, unit normal
    ``n`` and row direction ``e`` of the detector at distance D, detector coordinates
    ``(s, t)`` from the foot of the source and the ramp's kernel h, the result is

        x(r) = ½ ∫ dλ U⁻² ∫ ds p(s, t_r) |a'·(D e − s n)| / (D √(D² + s² + t²)) h(s_r − s),

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

    Returns
    -------
    torch.Tensor
        ``(..., z, y, x)``, dtype and device of `y`. Memory: the result, two copies of one
        sample's projections, and slabs of 2¹⁷ voxels.

    Raises
    ------
    InputError
        The projections are not the operator's, the orbit is not a full circle, or the detector
        is tilted against it.
    """
    if tuple(y.shape[-3:]) != operator.range.shape or y.is_complex():
        msg = (
            f"projections must be real and of the trailing shape {operator.range.shape}, "
            f"got {y.dtype} of {tuple(y.shape)}"
        )
        raise InputError(msg)
    views = _views(np.asarray(operator.geometry.vectors, dtype=np.float64))
    batch = y.detach().reshape(-1, *operator.range.shape)
    volumes = []
    for projections in batch:
        rows = projections.mT if views.turned else projections
        filtered = _weigh_and_filter(rows, views, window, cutoff)
        volumes.append(_backproject(filtered, views, operator.domain))
    return torch.stack(volumes).reshape(*y.shape[:-3], *operator.domain.shape)


def check_full_circle(geometry: ConeGeometry) -> None:
    """Refuse a geometry that `fdk` cannot reconstruct.

    Raises
    ------
    InputError
        The orbit is not a full circle, or the detector is tilted against it.
    """
    _views(np.asarray(geometry.vectors, dtype=np.float64))


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


def _views(vectors: np.ndarray) -> _Views:
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
    return _Views(
        turned=turned,
        source=source,
        normal=normal,
        along=along,
        across=across,
        distance=_dot(arm, normal),
        spacing=spacing,
        centre=np.stack([_dot(arm, along), _dot(arm, across)], axis=1),
        sweep=np.cross(orbit.axis, source - orbit.centre_mm) * orbit.increments_rad[:, None],
    )


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
    filtered = torch.empty_like(projections, memory_format=torch.contiguous_format)
    num_across, num_along = projections.shape[1:]
    for i, projection in enumerate(projections):
        s = _positions(num_along, views.spacing[0]) + views.centre[i, 0]
        t = _positions(num_across, views.spacing[1])[:, None] + views.centre[i, 1]
        distance = views.distance[i]
        sweep = views.sweep[i]
        speed = np.abs(distance * (sweep @ views.along[i]) - (sweep @ views.normal[i]) * s)
        weight = 0.5 * speed / (distance * np.sqrt(distance**2 + s**2 + t**2))
        weighted = projection * torch.as_tensor(weight).to(projection)
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
