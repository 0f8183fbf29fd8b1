"""Canvas: a grid to paint solids on, anti-aliased.  The solids, as signed distances.

Lengths are in units of half of the grid's shorter side in the plane, centred, so a solid is the
same object on a finer grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Coordinates = tuple[np.ndarray, np.ndarray, np.ndarray]  # z, y, x: broadcast to a box
Vector = tuple[float, float, float]  # z, y, x


class Solid(Protocol):
    """Something to paint: bounded, with a signed distance that is negative inside."""

    @property
    def centre(self) -> Vector:
        """Middle of the bounding box."""

    @property
    def reach(self) -> Vector:
        """Half sides of the bounding box."""

    @property
    def thickness(self) -> float:
        """Half of its extent where it is thinnest."""

    def distance(self, points: Coordinates) -> np.ndarray:
        """Return the (approximate) signed distance from the surface."""


class Canvas:
    """Values on a grid, painted one solid over the other.

    Parameters
    ----------
    shape
        ``(z, y, x)``, or ``(y, x)`` for the slice ``z = 0``.
    smallest
        Solids and waves thinner than this (half of their extent) are left out.

    Attributes
    ----------
    values
        float32, of three axes.
    extent
        Half of the grid's side per axis ``(z, y, x)``; 1 along z for a slice.
    """

    def __init__(self, shape: tuple[int, ...], smallest: float = 0.0) -> None:
        self.smallest = smallest
        full = (1,) * (3 - len(shape)) + tuple(shape)
        self.voxel = 2.0 / min(full[1:])
        self.values = np.zeros(full, dtype=np.float32)
        self.extent = tuple(0.5 * n * self.voxel for n in full)
        if len(shape) == 2:
            self.extent = (1.0, *self.extent[1:])
        self._axes = [(np.arange(n) - 0.5 * (n - 1)) * self.voxel for n in full]
        self._stencil = np.ones(full, dtype=np.float32)

    @property
    def points(self) -> Coordinates:
        """Coordinates of all voxels."""
        return self._coordinates((slice(None),) * 3)

    def paint(self, solid: Solid, value: float) -> None:
        """Paint a solid, as far as it lies inside the stencil."""
        if solid.thickness < self.smallest:
            return
        region = self._region(solid)
        coverage = self._coverage(solid, region) * self._stencil[region]
        self.values[region] += coverage * (np.float32(value) - self.values[region])

    def paint_field(self, level: np.ndarray, steepness: float, value: float) -> None:
        """Paint where a field on `points` is positive; its slope is about `steepness`."""
        if 0.5 * np.pi / steepness < self.smallest:  # a quarter of a wave
            return
        coverage = np.clip(0.5 + level / (steepness * self.voxel), 0.0, 1.0) * self._stencil
        self.values += coverage.astype(np.float32) * (np.float32(value) - self.values)

    def confine_to(self, solid: Solid) -> None:
        """Make a solid the stencil of everything painted from now on."""
        region = self._region(solid)
        stencil = np.zeros_like(self._stencil)
        stencil[region] = self._coverage(solid, region)
        self._stencil = stencil

    def _coverage(self, solid: Solid, region: tuple[slice, ...]) -> np.ndarray:
        """Return the covered part of each voxel of a region, exact for planes along the axes."""
        distance = solid.distance(self._coordinates(region))
        return np.clip(0.5 - distance / self.voxel, 0.0, 1.0).astype(np.float32)

    def _region(self, solid: Solid) -> tuple[slice, ...]:
        bounds = [
            np.searchsorted(axis, (middle - reach - self.voxel, middle + reach + self.voxel))
            for axis, middle, reach in zip(self._axes, solid.centre, solid.reach, strict=True)
        ]
        return tuple(slice(int(low), int(high)) for low, high in bounds)

    def _coordinates(self, region: tuple[slice, ...]) -> Coordinates:
        z, y, x = (a[part].astype(np.float32) for a, part in zip(self._axes, region, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, turned by `turn` (rows: its own axes), with waves of `bumps` on it.

    `bumps` holds rows ``(amplitude, phase, z, y, x)``: waves over the direction from the centre.
    """

    centre: Vector
    radii: Vector
    turn: np.ndarray
    bumps: np.ndarray | None = None

    @property
    def reach(self) -> Vector:
        waves = 0.0 if self.bumps is None else float(np.abs(self.bumps[:, 0]).sum())
        radii = np.asarray(self.radii)[:, None]
        return vector((1.0 + waves) * np.linalg.norm(self.turn * radii, axis=0))

    @property
    def thickness(self) -> float:
        return min(self.radii)

    def distance(self, points: Coordinates) -> np.ndarray:
        p = _turned(points, self.centre, self.turn)
        scaled = [a / np.float32(r) for a, r in zip(p, self.radii, strict=True)]
        norm = np.sqrt(sum(a * a for a in scaled)) + np.float32(1e-6)
        slope = np.sqrt(
            sum((a / np.float32(r)) ** 2 for a, r in zip(scaled, self.radii, strict=True))
        )
        surface = np.ones_like(norm)
        for amplitude, phase, *wave in () if self.bumps is None else self.bumps:
            angle = sum(np.float32(w) * a for w, a in zip(wave, scaled, strict=True)) / norm
            surface += np.float32(amplitude) * np.sin(angle + np.float32(phase))
        return (norm - surface) * norm / (slope + np.float32(1e-6))


@dataclass(frozen=True)
class Rod:
    """A cylinder with round ends around the segment ``centre ± half``."""

    centre: Vector
    half: Vector
    radius: float

    @property
    def reach(self) -> Vector:
        return vector(np.abs(self.half) + self.radius)

    @property
    def thickness(self) -> float:
        return self.radius

    def distance(self, points: Coordinates) -> np.ndarray:
        p = [a - np.float32(c) for a, c in zip(points, self.centre, strict=True)]
        square = max(float(np.dot(self.half, self.half)), 1e-12)
        along = sum(np.float32(h / square) * a for h, a in zip(self.half, p, strict=True))
        along = np.clip(along, -1.0, 1.0)
        offsets = (a - np.float32(h) * along for h, a in zip(self.half, p, strict=True))
        return np.sqrt(sum(a * a for a in offsets)) - np.float32(self.radius)


@dataclass(frozen=True)
class Block:
    """A box with half sides `half`, turned by `turn` (rows: its own axes)."""

    centre: Vector
    half: Vector
    turn: np.ndarray

    @property
    def reach(self) -> Vector:
        return vector(np.abs(self.turn).T @ np.asarray(self.half))

    @property
    def thickness(self) -> float:
        return min(self.half)

    def distance(self, points: Coordinates) -> np.ndarray:
        p = _turned(points, self.centre, self.turn)
        sides = [np.abs(a) - np.float32(h) for a, h in zip(p, self.half, strict=True)]
        outside = np.sqrt(sum(np.maximum(a, 0.0) ** 2 for a in sides))
        return outside + np.minimum(np.maximum(np.maximum(*sides[:2]), sides[2]), 0.0)


def vector(values: np.ndarray) -> Vector:
    """Return three numbers as a tuple of floats."""
    z, y, x = (float(v) for v in values)
    return z, y, x


def _turned(points: Coordinates, centre: Vector, turn: np.ndarray) -> list[np.ndarray]:
    p = [a - np.float32(c) for a, c in zip(points, centre, strict=True)]
    return [sum(np.float32(t) * a for t, a in zip(row, p, strict=True)) for row in turn]  # type: ignore[misc] # sum of arrays
