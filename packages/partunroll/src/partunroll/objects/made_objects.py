"""made_object: varied objects to train on where there are no volumes, the same for a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partunroll.errors import InputError
from partunroll.objects.made_shapes import Block, Canvas, Ellipsoid, Rod, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from partunroll.objects.made_shapes import Vector

UPRIGHT = np.eye(3)
RIM = 0.88  # bodies end here, of the way to the edge of the grid; bumps stay below 1


def made_object(
    shape: tuple[int, ...], seed: int | tuple[int, ...], smallest: float = 0.0
) -> np.ndarray:
    """Return an object with walls, cavities, rods, grains or texture, in empty surroundings.

    It is drawn from solids in continuous space, so that a finer grid of the same proportions
    shows the same object, and lies inside the ellipsoid that the grid holds, hence inside the
    field of view of a scanner that sees the grid's inscribed cylinder. Five families, drawn with
    equal chances: nuts (wavy shells around a folded kernel), castings (blocks with bores and
    inserts), porous bodies, nested ellipsoids, bundles of fibres. All our choice.

    Parameters
    ----------
    shape
        ``(z, y, x)``, or ``(y, x)`` for a slice; voxels are taken as cubes.
    seed
        Names the object.
    smallest
        Parts whose half extent is below it are left out, in units of half of the grid's side:
        what a coarse grid could not show anyway.

    Returns
    -------
    np.ndarray
        float32 in [0, 1]; partly covered voxels have values between.

    Raises
    ------
    InputError
        The shape does not have 2 or 3 axes.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        msg = f"shape of a made object must have 2 or 3 axes, got {shape}"
        raise InputError(msg)
    rng = np.random.default_rng(seed)
    canvas = Canvas(shape, smallest)
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    family(canvas, rng)
    return canvas.values.reshape(shape)


def _nut(canvas: Canvas, rng: Generator) -> None:
    turn = _rotation(rng)
    radii = _body_radii(canvas, rng, 0.75)
    shell = Ellipsoid((0, 0, 0), radii, turn, _bumps(rng, 4, 0.012, (2, 6)))
    wall = rng.uniform(0.06, 0.16)
    canvas.paint(shell, rng.uniform(0.6, 1.0))
    canvas.confine_to(shell)
    _paint_inserts(canvas, rng, int(rng.integers(5, 15)), (0.02, 0.05), (0.3, 1.0))
    cavity = Ellipsoid((0, 0, 0), _scaled(radii, 1 - wall), turn)
    canvas.paint(cavity, 0.0)
    canvas.confine_to(cavity)
    kernel = Ellipsoid(
        _near_centre(rng, 0.05), _scaled(radii, 0.9 - wall), turn, _bumps(rng, 14, 0.05, (5, 18))
    )
    canvas.paint(kernel, rng.uniform(0.35, 0.7))
    for _ in range(int(rng.integers(2, 7))):
        canvas.paint(_plate(rng, 0.01, 0.03), rng.choice([0.0, rng.uniform(0.4, 0.9)]))
    canvas.confine_to(kernel)
    _paint_inserts(canvas, rng, int(rng.integers(8, 30)), (0.02, 0.1), (0.0, 0.7))


def _casting(canvas: Canvas, rng: Generator) -> None:
    turn = _rotation_about_z(rng)
    height = rng.uniform(0.35, 0.6) * min(1.0, canvas.extent[0])
    diagonal = rng.uniform(0.85, 1.0) * np.sqrt(RIM**2 - height**2)
    angle = rng.uniform(0.6, 1.0)
    body = Block((0, 0, 0), (height, diagonal * np.sin(angle), diagonal * np.cos(angle)), turn)
    canvas.paint(body, rng.uniform(0.5, 0.8))
    canvas.confine_to(body)
    for _ in range(int(rng.integers(10, 30))):
        axis = turn[int(rng.integers(3))] if rng.random() < 0.7 else _direction(rng)
        half_length = vector(axis * rng.uniform(0.2, 1.2))
        value = 0.0 if rng.random() < 0.7 else rng.uniform(0.7, 1.0)
        canvas.paint(Rod(_near_centre(rng, 0.7), half_length, rng.uniform(0.02, 0.14)), value)
    _paint_inserts(canvas, rng, int(rng.integers(4, 20)), (0.02, 0.1), (0.0, 1.0))


def _porous(canvas: Canvas, rng: Generator) -> None:
    turn = _rotation(rng)
    radii = _body_radii(canvas, rng, 0.7)
    body = Ellipsoid((0, 0, 0), radii, turn, _bumps(rng, 3, 0.02, (2, 5)))
    canvas.paint(body, rng.uniform(0.6, 1.0))
    canvas.confine_to(Ellipsoid((0, 0, 0), _scaled(radii, rng.uniform(0.8, 0.94)), turn))
    for _ in range(int(rng.integers(1, 3))):
        frequency = rng.uniform(10.0, 32.0)
        level = _waves(canvas, rng, frequency) - rng.uniform(-0.6, 0.6)
        canvas.paint_field(level, frequency, rng.uniform(0.0, 0.4))
    _paint_inserts(canvas, rng, int(rng.integers(0, 10)), (0.02, 0.1), (0.0, 1.0))


def _nested(canvas: Canvas, rng: Generator) -> None:
    turn = _rotation(rng)
    radii = _body_radii(canvas, rng, 0.6)
    canvas.paint(Ellipsoid((0, 0, 0), radii, turn), rng.uniform(0.7, 1.0))
    inner = Ellipsoid((0, 0, 0), _scaled(radii, rng.uniform(0.85, 0.96)), turn)
    canvas.paint(inner, rng.uniform(0.15, 0.4))
    canvas.confine_to(inner)
    for _ in range(int(rng.integers(25, 70))):
        size = 0.4 * rng.random() ** 2 + 0.04
        parts = Ellipsoid(
            _near_centre(rng, 0.65), vector(size * rng.uniform(0.3, 1.0, 3)), _rotation(rng)
        )
        canvas.paint(parts, rng.uniform(0.0, 1.0))
    _paint_inserts(canvas, rng, int(rng.integers(10, 60)), (0.015, 0.05), (0.4, 1.0))


def _fibres(canvas: Canvas, rng: Generator) -> None:
    body = Rod(
        (0, 0, 0),
        (rng.uniform(0.05, 0.2) * canvas.extent[0], 0, 0),
        rng.uniform(0.55, 0.68) * min(1.0, canvas.extent[0]),
    )
    canvas.paint(body, rng.uniform(0.2, 0.5))
    canvas.confine_to(body)
    directions = [_direction(rng) for _ in range(int(rng.integers(1, 4)))]
    value, radius = rng.uniform(0.7, 1.0), rng.uniform(0.02, 0.05)
    for _ in range(int(rng.integers(100, 350))):
        lean = directions[int(rng.integers(len(directions)))] + 0.1 * rng.standard_normal(3)
        half_length = vector(lean * rng.uniform(0.1, 0.6))
        canvas.paint(Rod(_near_centre(rng, 0.75), half_length, radius), value)
    _paint_inserts(canvas, rng, int(rng.integers(10, 40)), (0.02, 0.08), (0.0, 0.3))


FAMILIES: tuple[Callable[[Canvas, Generator], None], ...] = (
    _nut,
    _casting,
    _porous,
    _nested,
    _fibres,
)


def _paint_inserts(
    canvas: Canvas,
    rng: Generator,
    count: int,
    radii: tuple[float, float],
    values: tuple[float, float],
) -> None:
    """Paint spheres; a third of them hollow."""
    for _ in range(count):
        centre, radius, value = _near_centre(rng, 0.85), rng.uniform(*radii), rng.uniform(*values)
        canvas.paint(Ellipsoid(centre, (radius,) * 3, UPRIGHT), value)
        if rng.random() < 1 / 3:
            hollow = Ellipsoid(centre, (radius * rng.uniform(0.4, 0.8),) * 3, UPRIGHT)
            canvas.paint(hollow, rng.uniform(*values))


def _plate(rng: Generator, thin: float, thick: float) -> Block:
    return Block(_near_centre(rng, 0.2), (rng.uniform(thin, thick), 1.0, 1.0), _rotation(rng))


def _waves(canvas: Canvas, rng: Generator, frequency: float) -> np.ndarray:
    """Return a random sum of plane waves of one frequency: variance one, slope `frequency`."""
    num_waves = 10
    z, y, x = canvas.points
    field = np.zeros(canvas.values.shape, dtype=np.float32)
    for _ in range(num_waves):
        wave = frequency * _direction(rng)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        z_part = np.exp(1j * (wave[0] * z + phase)).astype(np.complex64)
        plane = np.exp(1j * (wave[1] * y + wave[2] * x)).astype(np.complex64)
        field += z_part.real * plane.real - z_part.imag * plane.imag
    return field * np.float32(np.sqrt(2.0 / num_waves))


def _body_radii(canvas: Canvas, rng: Generator, least: float) -> Vector:
    """Return radii of a body that stays inside the grid however it is turned."""
    ball = RIM * min(1.0, canvas.extent[0])
    return vector(ball * rng.uniform(least, 1.0, 3))


def _bumps(
    rng: Generator, count: int, amplitude: float, frequencies: tuple[float, float]
) -> np.ndarray:
    waves = [_direction(rng) * rng.uniform(*frequencies) for _ in range(count)]
    heights = rng.uniform(0.3, 1.0, count) * amplitude
    return np.column_stack([heights, rng.uniform(0, 2 * np.pi, count), np.stack(waves)])


def _near_centre(rng: Generator, reach: float) -> Vector:
    return vector(rng.uniform(-reach, reach, 3))


def _direction(rng: Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _rotation(rng: Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((3, 3)))[0]


def _rotation_about_z(rng: Generator) -> np.ndarray:
    sin, cos = np.sin(angle := rng.uniform(0, np.pi)), np.cos(angle)
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])


def _scaled(radii: Vector, factor: float) -> Vector:
    return vector(np.asarray(radii) * factor)
