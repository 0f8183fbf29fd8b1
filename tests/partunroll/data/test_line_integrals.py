"""Counts become line integrals, and dead pixels the median of their neighbours."""

import numpy as np
import pytest

from partunroll.errors import InputError
from partunroll.measurements.line_integrals import line_integrals
from partunroll.measurements.line_integrals_to_file import line_integrals_to_file

SHAPE = (3, 12, 15)


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)
    lines = rng.uniform(0.0, 3.0, SHAPE)
    flat = rng.uniform(900.0, 1100.0, SHAPE[1:])
    dark = rng.uniform(50.0, 60.0, SHAPE[1:])
    return lines, dark + (flat - dark) * np.exp(-lines), flat, dark


def test_line_integrals_come_back(scan):
    lines, counts, flat, dark = scan
    result = line_integrals(counts, flat, dark)
    assert result.values.dtype == np.float32
    assert result.num_replaced == 0
    np.testing.assert_allclose(result.values, lines, atol=1e-5)


def test_stacks_of_fields_are_averaged(scan):
    lines, counts, flat, dark = scan
    stack = np.stack([flat - 10, flat + 10])
    result = line_integrals(counts, stack, np.stack([dark, dark]))
    np.testing.assert_allclose(result.values, lines, atol=1e-5)


def test_dead_pixels_take_the_median_of_the_good_ones_around(scan):
    lines, counts, flat, dark = scan
    counts[:, 0, 0] = 0.0
    counts[1, 5, 7] = dark[5, 7]
    counts[1, 5, 8] = np.nan
    result = line_integrals(counts, flat, dark)
    assert result.num_replaced == 5
    assert result.dead_pixels == ((0, 0),)
    corner = np.median([lines[2, 0, 1], lines[2, 1, 0], lines[2, 1, 1]])
    assert result.values[2, 0, 0] == pytest.approx(corner, abs=1e-5)
    around = np.delete(lines[1, 4:7, 6:9].ravel(), [4, 5])
    assert result.values[1, 5, 7] == pytest.approx(np.median(around), abs=1e-5)
    assert result.values[0, 5, 7] == pytest.approx(lines[0, 5, 7], abs=1e-5)


def test_a_hole_is_filled_from_a_larger_square(scan):
    lines, counts, flat, dark = scan
    counts[0, 4:7, 4:7] = 0.0
    result = line_integrals(counts, flat, dark)
    ring = lines[0, 3:8, 3:8].copy()
    ring[1:4, 1:4] = np.nan
    assert result.values[0, 5, 5] == pytest.approx(np.nanmedian(ring), abs=1e-5)
    assert result.num_replaced == 9


def test_the_report_says_how_many(scan):
    _, counts, flat, dark = scan
    counts[:, 0, 0] = 0.0
    assert "3 of 540 values replaced" in str(line_integrals(counts, flat, dark))


def test_a_dead_detector_is_refused(scan):
    _, counts, flat, dark = scan
    counts[1] = 0.0
    with pytest.raises(InputError, match="view 1, row 0, column 0"):
        line_integrals(counts, flat, dark)


def test_shapes_are_checked(scan):
    _, counts, flat, dark = scan
    with pytest.raises(InputError, match=r"flat must .* \(12, 15\), got \(11, 15\)"):
        line_integrals(counts, flat[1:], dark)
    with pytest.raises(InputError, match="views, rows, columns"):
        line_integrals(counts[0], flat, dark)


def test_exchanged_fields_are_named(scan):
    _, counts, flat, dark = scan
    with pytest.raises(InputError, match=r"flat must be brighter than dark .* got 0%; were"):
        line_integrals(counts, dark, flat)


def test_a_file_of_one_array_is_no_scan(tmp_path, scan):
    np.save(tmp_path / "scan.npy", scan[1])
    with pytest.raises(InputError, match=r"scan must be a readable npz file, got .*: File is not"):
        line_integrals_to_file(tmp_path / "scan.npy", tmp_path / "y.npy")
