"""Made objects are the same for a seed and on finer grids, and lie in the field of view."""

import numpy as np
import pytest
import torch

from partunroll.errors import InputError
from partunroll.measurements.finer_simulation import block_mean
from partunroll.objects.made_objects import FAMILIES, made_object
from partunroll.objects.made_shapes import Block, Canvas, Ellipsoid, Rod

SEEDS = range(12)


def _binned(volume, shape):
    return block_mean(torch.from_numpy(volume), shape).numpy()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_finer_grid_shows_the_same_object(seed):
    coarse, fine = made_object((32, 32, 32), seed), made_object((64, 64, 64), seed)
    difference = np.sqrt(np.mean((coarse - _binned(fine, coarse.shape)) ** 2))
    assert difference < 0.25 * coarse.std()  # half a voxel of shift gives 0.3 and more
    np.testing.assert_allclose(coarse.mean(), fine.mean(), rtol=0.12)  # rods are thin here


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(32, 32, 32), (16, 40, 32), (48, 32, 32), (32, 32)])
def test_objects_fill_part_of_the_field_of_view_and_nothing_else(seed, shape):
    volume = made_object(shape, seed)
    assert volume.shape == shape
    assert volume.dtype == np.float32
    assert volume.min() >= 0.0
    assert 0.3 < volume.max() <= 1.0
    places = [(np.arange(n) - 0.5 * (n - 1)) / (0.5 * min(shape[-2:])) for n in shape[-2:]]
    outside = np.hypot(places[0][:, None], places[1][None, :]) > 1.0
    assert volume[..., outside].max() == 0.0
    if len(shape) == 3:
        assert volume[[0, -1]].max() == 0.0


def test_seeds_name_objects():
    first = made_object((24, 24, 24), 5)
    np.testing.assert_array_equal(first, made_object((24, 24, 24), 5))
    assert np.abs(first - made_object((24, 24, 24), 6)).max() > 0.1
    assert np.abs(first - made_object((24, 24, 24), (5, 1))).max() > 0.1


def test_every_family_draws_something():
    for family in FAMILIES:
        canvas = Canvas((24, 24, 24))
        family(canvas, np.random.default_rng(1))
        assert len(np.unique(canvas.values)) > 50


@pytest.mark.parametrize(
    ("solid", "volume"),
    [
        (Ellipsoid((0.1, 0.0, -0.1), (0.5, 0.3, 0.6), np.eye(3)), 4 / 3 * np.pi * 0.5 * 0.3 * 0.6),
        (Rod((0.0, 0.1, 0.0), (0.3, 0.2, -0.1), 0.2), None),
        (Block((0.1, 0.0, 0.2), (0.3, 0.4, 0.25), np.eye(3)), 8 * 0.3 * 0.4 * 0.25),
    ],
)
def test_solids_have_their_volume_and_stay_in_their_box(solid, volume):
    if volume is None:
        length = 2 * np.linalg.norm(solid.half)
        volume = np.pi * solid.radius**2 * length + 4 / 3 * np.pi * solid.radius**3
    canvas = Canvas((64, 64, 64))
    canvas.paint(solid, 1.0)
    assert canvas.values.sum() * canvas.voxel**3 == pytest.approx(volume, rel=0.01)
    everywhere = np.clip(0.5 - solid.distance(canvas.points) / canvas.voxel, 0.0, 1.0)
    np.testing.assert_allclose(canvas.values, everywhere, atol=1e-6)


def test_a_turned_solid_stays_in_its_box():
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    for solid in (
        Ellipsoid((0.1, 0.0, 0.0), (0.6, 0.2, 0.1), turn),
        Block((0.0, 0.1, 0.0), (0.5, 0.1, 0.2), turn),
    ):
        canvas = Canvas((48, 48, 48))
        canvas.paint(solid, 1.0)
        everywhere = np.clip(0.5 - solid.distance(canvas.points) / canvas.voxel, 0.0, 1.0)
        np.testing.assert_allclose(canvas.values, everywhere, atol=1e-6)


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"got \(4,\)"):
        made_object((4,), 0)
