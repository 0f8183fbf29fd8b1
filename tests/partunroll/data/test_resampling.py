"""Resampling keeps centre, mean and the whole object, and does not alias."""

import numpy as np
import pytest

from normalfit.grid import Grid
from partunroll.errors import InputError
from partunroll.volumes.resampling import cylinder_mask, resample, scale_to_unit

CUBE = Grid((16, 16, 16), (1.0, 1.0, 1.0))


def _centroid(volume):
    """Centre of mass in units of the volume's sides, from the middle."""
    places = np.indices(volume.shape) + 0.5
    mass = [(p * volume).sum() / volume.sum() / n - 0.5 for p, n in zip(places, volume.shape)]  # noqa: B905
    return np.array(mass)


def _blob(shape, centre=(0.1, -0.15, 0.2), width=0.09):
    places = np.indices(shape)
    scaled = [(p + 0.5) / n - 0.5 - c for p, n, c in zip(places, shape, centre, strict=True)]
    return np.exp(-0.5 * sum(p**2 for p in scaled) / width**2).astype(np.float32)


def test_the_same_grid_changes_nothing():
    volume = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    np.testing.assert_allclose(resample(volume, None, CUBE), volume, atol=1e-6)


@pytest.mark.parametrize("side", [7, 16, 24, 33, 50])
def test_mean_and_centre_are_kept(side):
    volume = _blob((side,) * 3)
    result = resample(volume, None, CUBE)
    assert result.shape == CUBE.shape
    np.testing.assert_allclose(result.mean(), volume.mean(), rtol=0.01)
    np.testing.assert_allclose(_centroid(result), _centroid(volume), atol=0.004)


def test_the_longest_axis_fills_the_grid_and_the_aspect_is_kept():
    volume = np.ones((32, 8, 16), dtype=np.float32)
    padded = np.pad(volume, 0)
    result = resample(padded - 0.0, None, Grid((16, 16, 16), (1.0,) * 3))
    assert result.shape == (16, 16, 16)
    volume[0, 0, 0] = 0.0  # so that the background, the minimum, is not the object's value
    result = resample(volume, None, CUBE)
    extents = [np.count_nonzero(result.max(axis=other) > 0.5) for other in ((1, 2), (0, 2), (0, 1))]
    assert extents == [16, 4, 8]


def test_voxel_sizes_count():
    volume = np.zeros((8, 8, 8), dtype=np.float32)
    volume[:, 1:-1, 1:-1] = 1.0
    result = resample(volume, (2.0, 1.0, 1.0), CUBE)
    extents = [np.count_nonzero(result.max(axis=other) > 0.5) for other in ((1, 2), (0, 2), (0, 1))]
    assert extents == [16, 6, 6]


def test_physical_keeps_the_size():
    volume = np.zeros((10, 10, 10), dtype=np.float32)
    volume[2:8, 2:8, 2:8] = 1.0  # 6 voxels of 1 mm
    result = resample(volume, (1.0,) * 3, Grid((20, 20, 20), (0.5,) * 3), mode="physical")
    assert np.count_nonzero(result[10, 10] > 0.5) == 12
    cut = resample(volume, (1.0,) * 3, Grid((4, 4, 4), (1.0,) * 3), mode="physical")
    np.testing.assert_allclose(cut, 1.0, atol=1e-6)


def test_outside_is_the_minimum():
    volume = np.full((4, 16, 16), -1000.0, dtype=np.float32)
    volume[:, 4:12, 4:12] = 50.0
    assert resample(volume, None, CUBE)[0, 8, 8] == pytest.approx(-1000.0)


def test_what_the_grid_cannot_hold_does_not_fold_back():
    x = np.arange(64)
    stripes = np.broadcast_to(np.cos(np.pi * 0.9 * x), (64, 64, 64)).astype(np.float32)
    result = resample(stripes, None, CUBE)  # every fourth sample alone would keep amplitude 1
    assert np.abs(result[4:-4, 4:-4, 4:-4]).max() < 0.05


def test_scaling_is_robust_and_clips():
    volume = np.linspace(0.0, 200.0, 20000).reshape(20, 100, 10)
    volume[0, 0, 0] = 1e6
    scaled = scale_to_unit(volume)
    assert scaled.min() == 0.0
    assert scaled.max() == 1.0
    assert scaled[-1, -1, -1] > 0.99
    assert scale_to_unit(volume, (100.0, 200.0))[0, 1, 0] == 0.0


def test_hounsfield_units_start_at_air():
    volume = np.full((8, 8, 8), -3000.0)  # outside the scanner's field of view
    volume[2:6] = -1000.0
    volume[3:5] = 1000.0
    scaled = scale_to_unit(volume)
    assert scaled[0, 0, 0] == scaled[2, 0, 0] == 0.0
    assert scaled[3, 0, 0] == 1.0


def test_a_small_object_is_scaled_by_its_own_values():
    volume = np.zeros((20, 20, 20))
    volume[10, 10, 10:12] = 5.0
    assert scale_to_unit(volume).max() == 1.0


def test_a_constant_volume_is_refused():
    with pytest.raises(InputError, match="3 to 3; a constant volume"):
        scale_to_unit(np.full((4, 4, 4), 3.0))


def test_the_cylinder_is_inscribed_and_centred():
    mask = cylinder_mask(Grid((4, 40, 40), (1.0, 0.5, 0.5)))
    assert mask.shape == (40, 40)
    assert mask[0, 0] == 0.0
    assert mask[20, 20] == 1.0
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    np.testing.assert_array_equal(mask, mask[::-1])
    np.testing.assert_array_equal(mask, mask[:, ::-1])


def test_axes_and_mode_are_checked():
    with pytest.raises(InputError, match="3 axes"):
        resample(np.zeros((4, 4), np.float32), None, CUBE)
    with pytest.raises(InputError, match="'stretch'"):
        resample(np.zeros((4, 4, 4), np.float32), None, CUBE, mode="stretch")


def test_a_range_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="value_range must be finite and ascend, got -inf to 1"):
        scale_to_unit(np.arange(8.0).reshape(2, 2, 2), (-np.inf, 1))
