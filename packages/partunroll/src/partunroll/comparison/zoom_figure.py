"""ZoomFigure: pictures of methods with a zoomed part in their corners, and maps of their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from partunroll.durable_file import written_durably

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_PER_LINE = 6  # pictures beside each other, at most
_PANEL, _GAP, _TITLE, _TOP, _BARS = 1.75, 0.06, 0.36, 0.3, 0.5  # inches
_DPI = 200
_GRAY_PERCENTILES = (0.1, 99.9)  # of the reference
_ERROR_SHARE = 0.25  # of the gray scale: full colours, the same for all # our choice
_INSET = 0.42  # of a panel's width
_FRAME, _OURS = "#ffb000", "#0b5fa5"


@dataclass(frozen=True, eq=False)
class Shown:
    """A method's picture.

    Parameters
    ----------
    title, caption
        What stands above it.
    image
        ``(rows, columns)``.
    highlighted
        Whether the title is emphasised.
    """

    title: str
    caption: str
    image: np.ndarray
    highlighted: bool = False


@dataclass(frozen=True, eq=False)
class ZoomFigure:
    """A figure of several lines, each of pictures over error maps.

    Parameters
    ----------
    reference
        ``(rows, columns)``; its gray scale is everybody's.
    shown
        The methods.
    zoom
        First row and column, and side, of the part that is zoomed.
    title
        Of the figure.
    """

    reference: np.ndarray
    shown: tuple[Shown, ...]
    zoom: tuple[int, int, int]
    title: str

    def draw(self, output: Path) -> None:
        """Write it as a PNG; an earlier file is replaced."""
        cells = [Shown("reference", "", self.reference), *self.shown]
        lines = math.ceil(len(cells) / _PER_LINE)
        columns = math.ceil(len(cells) / lines)
        aspect = self.reference.shape[0] / self.reference.shape[1]
        height = _PANEL * aspect
        line = _TITLE + 2 * (height + _GAP)
        size = (columns * (_PANEL + _GAP) + _GAP, _TOP + lines * line + _BARS)
        figure = Figure(figsize=size, facecolor="white")
        figure.text(0.5, 1 - 0.17 / size[1], self.title, ha="center", va="center", fontsize=9)
        gray = error = None
        for number, cell in enumerate(cells):
            i, j = divmod(number, columns)
            left = (_GAP + j * (_PANEL + _GAP)) / size[0]
            top = size[1] - _TOP - i * line - _TITLE
            wide, high = _PANEL / size[0], height / size[1]
            axes = figure.add_axes((left, (top - height) / size[1], wide, high))
            gray = self._picture(axes, cell)
            if number:
                below = (left, (top - 2 * height - _GAP) / size[1], wide, high)
                error = self._errors(figure.add_axes(below), cell)
        for image, left, label in ((gray, 0.1, "value"), (error, 0.58, "error")):
            if image is not None:
                place = (left, 0.34 / size[1], 0.34, 0.08 / size[1])
                _bar(figure, image, place, label)
        with written_durably(output) as fresh:
            figure.savefig(fresh, dpi=_DPI, format="png")

    @property
    def _limits(self) -> tuple[float, float]:
        low, high = np.percentile(self.reference, _GRAY_PERCENTILES)
        return float(low), float(max(high, low + 1e-12))

    def _picture(self, axes: Axes, cell: Shown) -> AxesImage:
        low, high = self._limits
        image = axes.imshow(cell.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        row, column, side = self.zoom
        _bare(axes)
        axes.add_patch(_frame((column - 0.5, row - 0.5), side))
        axes.set_title(
            f"{cell.title}\n{cell.caption}" if cell.caption else cell.title,
            fontsize=7,
            pad=2,
            linespacing=1.1,
            color=_OURS if cell.highlighted else "black",
            fontweight="bold" if cell.highlighted else "normal",
        )
        rows, columns = self.reference.shape
        place = _free_corner(row + side / 2 < rows / 2, column + side / 2 < columns / 2)
        inset = axes.inset_axes((*place, _INSET, _INSET * columns / rows))
        part = cell.image[row : row + side, column : column + side]
        inset.imshow(part, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        _bare(inset, _FRAME, 1.0)
        return image

    def _errors(self, axes: Axes, cell: Shown) -> AxesImage:
        low, high = self._limits
        full = _ERROR_SHARE * (high - low)
        error = cell.image - self.reference
        _bare(axes)
        return axes.imshow(error, cmap="RdBu_r", vmin=-full, vmax=full, interpolation="nearest")


def busiest_window(image: np.ndarray, side: int) -> tuple[int, int, int]:
    """Return first row, first column and side of the window with the largest variance."""
    x = image.astype(np.float64)
    mean, square = (uniform_filter(v, side, mode="constant") for v in (x, x * x))
    variance = square - mean**2
    half = side // 2  # a window begins so far before the place that the filter calls its middle
    rows, columns = (n - side + 1 for n in image.shape)
    inside = variance[half : half + rows, half : half + columns]
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(row), int(column), side


def _free_corner(high: bool, left: bool) -> tuple[float, float]:
    """Return where the inset goes: the corner that is opposite to the zoomed part."""
    return (1 - _INSET - 0.01 if left else 0.01), (0.01 if high else 1 - _INSET - 0.01)


def _bare(axes: Axes, colour: str = "black", width: float = 0.4) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(width)
        spine.set_color(colour)


def _bar(
    figure: Figure, image: AxesImage, place: tuple[float, float, float, float], label: str
) -> None:
    left, bottom, _, height = place
    bar = figure.colorbar(
        image, cax=figure.add_axes(place), orientation="horizontal", extend="both"
    )
    bar.ax.tick_params(labelsize=6, width=0.4, length=2, pad=1)
    bar.outline.set_linewidth(0.4)
    figure.text(left - 0.05, bottom + height / 2, label, fontsize=7, ha="right", va="center")


def _frame(corner: tuple[float, float], side: int) -> Rectangle:
    return Rectangle(corner, side, side, fill=False, edgecolor=_FRAME, linewidth=0.8)
