"""The figures: small files, shared scales, slices that are where they say."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from partunroll.errors import InputError
from partunroll.volumes.figures import Panel, _limits, _panels, plot_comparison, plot_methods
from partunroll.volumes.panel_layout import PanelLayout

SHAPE = (6, 8, 10)


def volume(shape=SHAPE, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_panels_are_the_middle_slices():
    x = volume()
    panels = _panels(x, "reference", "title")
    assert [panel.label for panel in panels] == ["z = 3", "y = 4", "x = 5"]
    assert [panel.title for panel in panels] == ["title", "", ""]
    for panel, expected in zip(panels, [x[3], x[:, 4], x[:, :, 5]], strict=True):
        np.testing.assert_array_equal(panel.image, expected.numpy())


def test_the_gray_scale_is_the_references():
    reference = Panel(np.linspace(0, 1, 1001, dtype=np.float32)[None], "reference")
    bright = Panel(np.full((1, 4), 50, np.float32), "volume")
    assert _limits([reference, bright]) == pytest.approx((0.001, 0.999), abs=1e-4)


def test_the_scale_of_differences_is_symmetric():
    panels = [Panel(np.array([[-3.0, 1.0]], np.float32), "difference")]
    low, high = _limits(panels)
    assert low == -high
    assert high == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize("shape", [SHAPE, (9, 7), (40, 3, 5)])
@pytest.mark.parametrize("plot", [plot_comparison, plot_methods])
def test_a_picture_is_drawn(plot, shape, tmp_path):
    volumes = {"FDK": volume(shape, 1), "reconstruction": volume(shape, 2)}
    captions = {"FDK": "PSNR 20.00 dB"}
    plot(volume(shape), volumes, tmp_path / "x.png", captions)
    rows, columns, _ = imread(tmp_path / "x.png").shape
    assert rows > 100
    assert columns > 100


def test_a_difference_of_nothing_is_drawn(tmp_path):
    x = torch.ones(5, 5)
    plot_comparison(x, {"same": x}, tmp_path / "x.png")


def test_noise_stays_below_the_limit_of_size(tmp_path):
    shape = (100, 90, 95)
    volumes = {name: volume(shape, i) for i, name in enumerate(["a", "b", "c"], 1)}
    plot_methods(volume(shape), volumes, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size < 300_000


def test_panels_do_not_overlap_and_stay_on_the_page():
    layout = PanelLayout((1.0, 2.5, 0.4), num_columns=4, title_lines=2)
    boxes = [layout.panel(i, j) for i in range(3) for j in range(4)]
    boxes += [layout.bar(0, 3), layout.bar(3, 4)]
    for k, (left, bottom, width, height) in enumerate(boxes):
        assert left >= 0 <= bottom
        assert left + width <= 1 >= bottom + height
        for x, y, w, h in boxes[:k]:
            apart = left >= x + w or x >= left + width or bottom >= y + h or y >= bottom + height
            assert apart


def test_other_shapes_are_refused_naming_both(tmp_path):
    with pytest.raises(InputError, match=r"\(6, 8, 10\), got \(6, 8, 9\)"):
        plot_comparison(volume(), {"x": volume((6, 8, 9))}, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
