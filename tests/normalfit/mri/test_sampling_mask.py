"""Masks: as many samples as asked for, the calibration among them, the same for the same seed."""

import numpy as np
import pytest

from normalfit.errors import InputError
from normalfit.mri.sampling_mask import calibration_region, sampling_mask

PATTERNS = ("poisson-disc", "gaussian", "random")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("acceleration", [5, 10])
@pytest.mark.parametrize("shape", [(96, 80), (64, 64), (48, 50)])
def test_acceleration_is_met_within_two_percent(pattern, acceleration, shape):
    mask = sampling_mask(shape, pattern, acceleration, calibration=8, seed=3)
    assert mask.shape == shape
    assert mask.size / mask.sum() == pytest.approx(acceleration, rel=0.02)
    assert mask[calibration_region(shape, 8)].all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_seed_makes_the_mask(pattern):
    masks = [sampling_mask((40, 40), pattern, 4, seed=seed) for seed in (0, 0, 1)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize("pattern", ["poisson-disc", "gaussian"])
def test_density_falls_outwards(pattern):
    mask = sampling_mask((96, 96), pattern, 6, seed=0)
    inner = calibration_region((96, 96), 48)
    assert mask[inner].mean() > 1.5 * mask[~inner].mean()


def test_poisson_disc_keeps_samples_apart():
    """No two samples of the outer part are neighbours, of which a random mask has many."""
    outer = ~calibration_region((96, 96), 64)

    def neighbours(pattern):
        mask = sampling_mask((96, 96), pattern, 10, seed=0) & outer
        return (mask[1:] & mask[:-1]).sum() + (mask[:, 1:] & mask[:, :-1]).sum()

    assert neighbours("poisson-disc") == 0
    assert neighbours("random") > 20


def test_lines_in_one_axis():
    mask = sampling_mask((60,), "uniform", 4, calibration=6)
    lattice = sampling_mask((60,), "uniform", 4)
    assert lattice.sum() == 15
    assert lattice[30]  # the zero frequency
    assert (mask == lattice | calibration_region((60,), 6)).all()


@pytest.mark.parametrize("acceleration", [2, 4, 5, 9])
def test_uniform_lattice_has_one_sample_in_r(acceleration):
    mask = sampling_mask((8 * acceleration, 4 * acceleration), "uniform", acceleration)
    assert mask.sum() == mask.size / acceleration
    spectrum = np.abs(np.fft.fft2(mask))
    assert (spectrum > 1e-6).sum() == acceleration  # R aliases, equally strong


def test_calibration_has_its_centre_at_the_zero_frequency():
    region = calibration_region((9, 8), 3)
    assert region.sum() == 9
    assert region[3:6, 3:6].all()  # centres 4 and 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((32, 32), "poisson-disc", 10, 20), "room for 102 samples"),
        (((32,), "poisson-disc", 4, 0), "two phase-encoding axes"),
        (((32, 32), "uniform", 2.5, 0), "whole number"),
        (((32, 32), "random", 0.5, 0), "between 1 and 1024"),
        (((32, 32), "stripes", 2, 0), "one of"),
        (((32, 32), "random", 2, 40), "between 0 and 32"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    shape, pattern, acceleration, calibration = arguments
    with pytest.raises(InputError, match=words):
        sampling_mask(shape, pattern, acceleration, calibration=calibration)
