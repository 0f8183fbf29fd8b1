"""The figure of a factor file shows what it says, and is small."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from normalfit import plotting
from normalfit.ellipsoids import ellipsoids
from normalfit.errors import BackendError, InputError, MismatchError
from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factor_panels import comparison_rows, term_rows
from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator
from normalfit.plotting import plot_factors, plot_file
from normalfit.spectral_norm import SpectralNorm


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Draw with few pixels."""
    monkeypatch.setattr(plotting, "_RESOLUTIONS", (40, 20))


def scaling(shape, factor):
    """Return ``A`` with ``A*A = factor² I``."""
    grid = Grid(shape)
    return FunctionOperator(grid, grid, lambda x: factor * x, lambda y: factor * y, batched=True)


def linear(shape) -> Any:
    return ("linear",) * len(shape)


def scaling_factors(shape, value, diagonals=1, dtype=torch.float32):
    """Return factors of ``value · I``, of one lag."""
    kernel = torch.full((1, *[1] * len(shape)), value, dtype=dtype)
    images = [torch.ones(1, *shape, dtype=dtype) for _ in range(diagonals)]
    return Factors(LagKernel(kernel, shape, linear(shape)), *images)


def saved(path, factors):
    return save_factors(path, factors, FactorMetadata(None, "f", SpectralNorm(1.0, True, 1), 0.0))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("shape", "dtype", "diagonals"),
    [
        ((9,), torch.float32, 1),
        ((8, 10), torch.complex64, 2),
        ((8, 10), torch.float32, 0),
        ((6, 5, 7), torch.float32, 1),
        ((6, 5, 7), torch.complex64, 0),
    ],
)
def test_a_figure_of_any_factors(tmp_path, shape, dtype, diagonals):
    file = saved(tmp_path / "f.zarr", scaling_factors(shape, 4.0, diagonals, dtype))
    plot_factors(file, tmp_path / "f.png", scaling(shape, 2.0))
    image = pixels(tmp_path / "f.png")
    assert (image[0] == 255).all()
    assert image.std() > 10
    assert (tmp_path / "f.png").stat().st_size < 300_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_complex_operator_is_shown_on_complex_volumes(tmp_path, dtype):
    """Some take no others, as view_as_real does not."""

    def turn(x):
        return torch.view_as_complex(torch.view_as_real(x) * 2)

    grid = Grid((8, 10))
    operator = FunctionOperator(grid, grid, turn, turn, is_complex=True)
    factors = scaling_factors((8, 10), 5.0, 1, dtype)
    plot_factors(saved(tmp_path / "f.zarr", factors), tmp_path / "f.png", operator)
    titles = [panel.title for panel in comparison_rows(factors, operator)[" "]]
    assert titles[-1] == "B x − A*A x, relative error 0.25"


def test_the_error_in_the_title_is_the_error():
    factors, operator = scaling_factors((6, 5, 7), 5.0), scaling((6, 5, 7), 2.0)
    rows = comparison_rows(factors, operator)
    assert [panel.title for panel in rows["y centre"]] == [
        "object x",
        "exact: A*A x",
        "factors: B x",
        "B x − A*A x, relative error 0.25",
    ]
    x, exact, approximate, difference = (panel.image for panel in rows["z centre"])
    np.testing.assert_allclose(exact, 4 * x)
    np.testing.assert_allclose(approximate, 5 * x, atol=1e-5)
    np.testing.assert_allclose(difference, x, atol=1e-5)
    np.testing.assert_array_equal(x, ellipsoids((6, 5, 7))[3])


def test_kernel_planes_are_at_lag_zero():
    kernel = torch.arange(5 * 7.0 * 9).reshape(1, 5, 7, 9)
    factors = Factors(LagKernel(kernel, (3, 4, 5), ("linear",) * 3))
    panels = term_rows(factors, 0)["term 1 of 1"]
    planes = [kernel[0, 2], kernel[0, :, 3], kernel[0, :, :, 4]]
    for panel, plane, origin in zip(panels, planes, [(-3, -4), (-2, -4), (-2, -3)], strict=False):
        np.testing.assert_array_equal(panel.image, plane)
        assert panel.origin == origin
        assert panel.style == "log"


def test_the_spectrum_is_the_plane_of_zero_frequency():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(1, 5, 7, 9, generator=generator)
    factors = Factors(LagKernel(kernel, (3, 4, 5), ("linear",) * 3))
    panel = term_rows(factors, 0)["term 1 of 1"][3]
    centred = np.fft.ifftshift(kernel[0].numpy())
    expected = np.fft.fftshift(np.abs(np.fft.fftn(centred))[0])
    np.testing.assert_allclose(panel.image, expected, rtol=1e-4)


def test_equal_diagonals_are_shown_once():
    rows = term_rows(scaling_factors((4, 5), 1.0, diagonals=2), 0)
    assert [panel.title.strip() for panel in rows["term 1 of 1"]] == ["|h|", "|spectrum|", "u = v"]


def test_without_an_operator_the_approximation_alone_is_shown(tmp_path):
    factors = scaling_factors((4, 5), 1.0)
    panels = comparison_rows(factors, None)[" "]
    assert [panel.title for panel in panels] == ["object x", "factors: B x"]
    plot_factors(saved(tmp_path / "f.zarr", factors), tmp_path / "f.png")
    assert (tmp_path / "f.png").is_file()


def test_a_picture_that_is_too_large_gets_fewer_pixels(tmp_path, monkeypatch):
    file = saved(tmp_path / "f.zarr", scaling_factors((8, 9), 1.0))
    plot_factors(file, tmp_path / "f.png")
    monkeypatch.setattr(plotting, "_MAX_BYTES", (tmp_path / "f.png").stat().st_size)
    plot_factors(file, tmp_path / "g.png")
    assert pixels(tmp_path / "g.png").shape < pixels(tmp_path / "f.png").shape


def test_a_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    file = saved(tmp_path / "f.zarr", scaling_factors((4, 5), 1.0))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendError, match=r"pip install 'normalfit\[plot\]'"):
        plot_factors(file, tmp_path / "f.png")


@pytest.mark.parametrize("name", ["f.pdf", "f", "f.png.svg", "png"])
def test_another_suffix_is_refused_before_anything_is_computed(tmp_path, name):
    file = saved(tmp_path / "f.zarr", scaling_factors((4, 5), 1.0))
    for plot in (plot_factors, plot_file):
        with pytest.raises(InputError, match=f"output must end in .png, .*{name}"):
            plot(file, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_an_existing_picture_is_kept(tmp_path):
    file = saved(tmp_path / "f.zarr", scaling_factors((4, 5), 1.0))
    (tmp_path / "f.png").write_text("mine")
    with pytest.raises(InputError, match="output must not exist yet"):
        plot_factors(file, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_text() == "mine"


def test_an_operator_of_another_grid_is_refused(tmp_path):
    file = saved(tmp_path / "f.zarr", scaling_factors((4, 5), 1.0))
    with pytest.raises(MismatchError, match=r"grid \(4, 5\), got \(5, 4\)"):
        plot_factors(file, tmp_path / "f.png", scaling((5, 4), 1.0))
    assert not (tmp_path / "f.png").exists()


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (16,), (8, 9), (8, 9, 10)])
def test_ellipsoids_are_an_object(shape):
    x = ellipsoids(shape)
    assert x.shape == shape
    assert x.dtype == torch.float32
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert float(x.max()) > 0
    assert torch.equal(x, ellipsoids(shape))
