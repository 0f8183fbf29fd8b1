"""Figures of the central part, SSIM of slices, and paired differences with their intervals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from partunroll.comparison.central_part import central_part
from partunroll.comparison.paired_difference import paired_difference
from partunroll.comparison.row_figures import volume_figures
from partunroll.comparison.row_reconstruction import read_volume
from partunroll.comparison.zoom_figure import Shown, ZoomFigure, busiest_window
from partunroll.errors import InputError
from partunroll.volumes.structural_similarity import structural_similarity


@pytest.mark.parametrize(
    ("crop", "kept"),
    [(None, slice(0, 10)), (4, slice(3, 7)), (0.5, slice(2, 7)), (3, slice(3, 6)), (99, slice(10))],
)
def test_the_central_part(crop, kept):
    x = torch.arange(10)
    assert central_part(x, crop).tolist() == x[kept].tolist()


def test_figures_are_of_the_central_part_and_its_slices():
    rng = np.random.default_rng(0)
    reference = torch.from_numpy(rng.random((16, 18, 20), dtype=np.float32))
    x = reference.clone()
    x[0] += 1  # outside of the part
    x[8] += 0.5
    inner = tuple(slice(n // 2 - 6, n // 2 + 6) for n in x.shape)
    spread = float(reference.max() - reference.min())
    found = volume_figures(x, reference, 12)
    error = float((x[inner] - reference[inner]).square().mean())
    assert found.psnr == pytest.approx(10 * math.log10(spread**2 / error), rel=1e-6)
    pairs = zip(x[inner].numpy(), reference[inner].numpy(), strict=True)
    slices = [structural_similarity(a, b, spread) for a, b in pairs]
    assert found.ssim_2d == pytest.approx(np.mean(slices), rel=1e-9)
    whole = structural_similarity(x[inner].numpy(), reference[inner].numpy(), spread)
    assert found.ssim_3d == pytest.approx(whole)
    assert abs(whole - np.mean(slices)) > 1e-3


def test_volumes_smaller_than_the_window_have_no_ssim():
    x = torch.rand(4, 12, 12)
    found = volume_figures(x, x + 0.1, None)
    assert found.ssim_2d is not None
    assert found.ssim_3d is None


def test_a_damaged_reconstruction_is_named_with_the_remedy(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY half")
    with pytest.raises(InputError, match=r"a.npy must be a readable file.*remove it and run"):
        read_volume(tmp_path, "a")


def test_the_interval_is_students():
    rng = np.random.default_rng(1)
    ours = {f"v{i}": value for i, value in enumerate(rng.normal(30, 5, 6))}
    row = {name: value - 1 + 0.1 * i for i, (name, value) in enumerate(ours.items())}
    found = paired_difference(row, ours)
    differences = [row[name] - ours[name] for name in ours]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert found is not None
    assert found.half_width is not None
    assert found.mean == pytest.approx(np.mean(differences))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high)
    )
    assert found.volumes == 6


def test_volumes_that_one_side_lacks_are_left_out_and_one_alone_has_no_interval():
    found = paired_difference({"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0})
    assert found is not None
    assert (found.mean, found.half_width, found.volumes) == (-1.0, None, 1)
    assert paired_difference({"a": 1.0}, {}) is None


def test_the_zoom_shows_where_the_reference_varies_most():
    image = np.zeros((20, 24))
    image[12:16:2, 3:7:2] = 1
    row, column, side = busiest_window(image, 4)
    assert side == 4
    assert (row, column) == (11, 2) or image[row : row + 4, column : column + 4].sum() == 4


@pytest.mark.parametrize("count", [1, 7])
def test_the_figure_is_drawn_and_replaced(tmp_path, count):
    rng = np.random.default_rng(0)
    reference = rng.random((30, 40))
    shown = tuple(
        Shown(f"method {i}", "20.00 dB", reference + 0.1, highlighted=not i) for i in range(count)
    )
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    ZoomFigure(reference, shown, (3, 4, 8), "a title").draw(path)
    assert path.read_bytes().startswith(b"\x89PNG")
