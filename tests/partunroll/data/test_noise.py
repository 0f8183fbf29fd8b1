"""Noise has the statistics that its parameters say, and the same seed gives the same noise."""

import numpy as np
import pytest

from partunroll.errors import InputError
from partunroll.measurements.noise import PhotonNoise, RelativeNoise, noise_model

LINES = np.full((50, 40, 40), 12.0, dtype=np.float32)


def test_photon_noise_has_the_variance_of_its_counts():
    noise = PhotonNoise(photons=1e4, max_line_integral=2.0)
    attenuation = noise.intensity_per_mm(LINES)
    assert attenuation == pytest.approx(2.0 / 12.0)
    error = (noise.apply(LINES, 0).astype(np.float64) - LINES) * attenuation
    counts = 1e4 * np.exp(-2.0)
    assert error.std() == pytest.approx(counts**-0.5, rel=0.02)
    assert error.mean() == pytest.approx(0.5 / counts, abs=5 * error.std() / error.size**0.5)


def test_more_photons_mean_less_noise():
    few, many = (np.std(PhotonNoise(photons).apply(LINES, 0) - LINES) for photons in (1e3, 1e5))
    assert few == pytest.approx(10 * many, rel=0.05)


def test_zero_counts_are_clamped():
    noisy = PhotonNoise(photons=2.0, max_line_integral=8.0).apply(LINES, 0)
    assert np.isfinite(noisy).all()
    assert noisy.max() == pytest.approx(np.log(2.0) / (8.0 / 12.0), rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_relative_noise_has_its_level(dtype):
    clean = np.random.default_rng(1).random((30, 40, 40)).astype(dtype) * dtype(2)
    noisy = RelativeNoise(0.05).apply(clean, 0)
    assert noisy.dtype == dtype
    assert np.linalg.norm(noisy - clean) == pytest.approx(0.05 * np.linalg.norm(clean), rel=0.02)


@pytest.mark.parametrize("noise", [PhotonNoise(1e3), RelativeNoise(0.1)])
def test_seeds_repeat_the_noise(noise):
    np.testing.assert_array_equal(noise.apply(LINES, (1, 2)), noise.apply(LINES, (1, 2)))
    assert np.any(noise.apply(LINES, (1, 2)) != noise.apply(LINES, (1, 3)))


def test_options_name_one_model():
    assert noise_model(photons=1e5) == PhotonNoise(1e5)
    assert noise_model(relative_level=0.01) == RelativeNoise(0.01)
    assert noise_model() == RelativeNoise(0.0)
    with pytest.raises(InputError, match=r"got both: 1000 photons and level 0\.1"):
        noise_model(1e3, 0.1)


@pytest.mark.parametrize("photons", [0.0, -1.0, float("nan"), float("inf")])
def test_photons_must_be_positive(photons):
    with pytest.raises(InputError, match="photons must be a positive number"):
        PhotonNoise(photons)


def test_levels_must_not_be_negative():
    with pytest.raises(InputError, match=r">= 0, got -0\.1"):
        RelativeNoise(-0.1)


def test_photons_cannot_be_complex():
    with pytest.raises(InputError, match="use a relative level"):
        PhotonNoise(1e3).apply(LINES.astype(np.complex64), 0)
