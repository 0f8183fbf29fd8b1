"""One picture of an operator's factors: what they do to a volume, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from matplotlib.axes import Axes

    from normalfit.factors import Factors

TERMS_SHOWN = 2  # of ours
DECADES = 4  # of a spectrum that are shown below its largest value
PANEL, GAP, MARGIN, RIGHT = 1.75, 0.05, 0.4, 0.12  # inches
TITLE, ABOVE, BAR = 0.45, 0.42, 0.62  # inches: of the figure's title, above and below a block


@dataclass(frozen=True, eq=False)
class Seen:
    """What is drawn of one model."""

    factors: Factors
    image: torch.Tensor  # B x
    on_volume: float  # its distance from A*A x, relative


class Sheet:
    """Two blocks of six columns, with a title, colour bars below each, placed in inches."""

    def __init__(self, rows: tuple[int, int], title: str) -> None:
        self._rows = rows
        self._width = MARGIN + 6 * (PANEL + GAP) + RIGHT
        self._height = TITLE + 2 * (ABOVE + BAR) + sum(rows) * (PANEL + GAP)
        self._figure = plt.figure(figsize=(self._width, self._height))
        place = 1 - 0.5 * TITLE / self._height
        self._figure.text(0.5, place, title, ha="center", va="center", fontsize=11)

    def panel(self, block: int, row: int, column: int) -> Axes:
        """Return the axes of one image."""
        left, top = MARGIN + column * (PANEL + GAP), self._top(block) + row * (PANEL + GAP)
        axes = self._figure.add_axes(self._box(left, top, PANEL, PANEL), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_linewidth(0.4)
        return axes

    def bar(self, image: Any, block: int, columns: tuple[int, int], label: str) -> None:
        """Draw a colour bar below the columns from one to another, the last left out."""
        span = (columns[1] - columns[0]) * (PANEL + GAP) - GAP
        length = 0.9 * min(span, 2.5 * PANEL)
        left = MARGIN + columns[0] * (PANEL + GAP) + (span - length) / 2
        top = self._top(block) + self._rows[block] * (PANEL + GAP) + 0.06
        axes = self._figure.add_axes(self._box(left, top, length, 0.09))
        drawn = self._figure.colorbar(image, cax=axes, orientation="horizontal")
        drawn.set_label(label, fontsize=8, labelpad=2)
        drawn.ax.tick_params(labelsize=7, width=0.5, pad=1.5)
        drawn.outline.set_linewidth(0.4)

    def save(self, path: Path) -> None:
        """Write the PNG."""
        self._figure.savefig(path, dpi=110)
        plt.close(self._figure)

    def _top(self, block: int) -> float:
        above = (self._rows[0] * (PANEL + GAP) + BAR + ABOVE) if block else 0.0
        return TITLE + ABOVE + above

    def _box(
        self, left: float, top: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        across, up = self._width, self._height
        return left / across, 1 - (top + height) / up, width / across, height / up


def slices(volume: torch.Tensor) -> list[np.ndarray]:
    """Return the middle slice across every axis; of a complex volume the magnitude's."""
    values = (volume.abs() if volume.is_complex() else volume).detach().numpy()
    return [values.take(n // 2, axis) for axis, n in enumerate(values.shape)]


def draw(
    title: str, x: torch.Tensor, exact: torch.Tensor, paper: Seen, ours: Seen, path: Path
) -> None:
    """Draw a volume, A*A of it, what both models make of it, and the factors of both.

    Parameters
    ----------
    x, exact
        The volume and ``A*A x``, ``(z, y, x)``; of complex ones the magnitude is shown.
    """
    terms = [(paper, 0), *((ours, k) for k in range(min(TERMS_SHOWN, ours.factors.terms)))]
    sheet = Sheet((3, len(terms)), title)
    _draw_action(sheet, x, exact, paper, ours)
    for row, (model, k) in enumerate(terms):
        _draw_term(sheet, row, model.factors, k, "paper's" if model is paper else "ours")
    sheet.save(path)


def _draw_action(
    sheet: Sheet, x: torch.Tensor, exact: torch.Tensor, paper: Seen, ours: Seen
) -> None:
    differences = [model.image - exact for model in (paper, ours)]
    largest = max(float(difference.abs().max()) for difference in differences)
    magnitude = ", magnitude" if x.is_complex() else ""
    shown = torch.stack([exact, paper.image, ours.image])
    lowest = 0.0 if x.is_complex() else min(0.0, float(shown.min()))
    volume = ("gray", 0.0, float(x.abs().max()))
    normal = ("gray", lowest, float(shown.abs().max()))
    difference = ("magma", 0.0, largest) if x.is_complex() else ("RdBu_r", -largest, largest)
    columns = [
        ("$x$", x, volume),
        ("$A^*A\\,x$", exact, normal),
        ("$B\\,x$, paper's model", paper.image, normal),
        ("$B\\,x$, ours", ours.image, normal),
        (f"difference, paper's: {paper.on_volume:.3f}", differences[0], difference),
        (f"difference, ours: {ours.on_volume:.3f}", differences[1], difference),
    ]
    bars = {
        0: ((0, 1), "volume" + magnitude),
        3: ((1, 4), "$A^*A\\,x$ and $B\\,x$" + magnitude),
        5: ((4, 6), "$B\\,x - A^*A\\,x$" + magnitude),
    }
    for column, (title, values, (colours, low, high)) in enumerate(columns):
        for row, image in enumerate(slices(values)):
            axes = sheet.panel(0, row, column)
            drawn = axes.imshow(image, cmap=colours, vmin=low, vmax=high, aspect="auto")
            if row == 0:
                axes.set_title(title, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"{'zyx'[row]} = {x.shape[row] // 2}", fontsize=8)
        if column in bars:
            sheet.bar(drawn, 0, *bars[column])


def _draw_term(sheet: Sheet, row: int, factors: Factors, term: int, name: str) -> None:
    """Draw the spectrum and the modulation of one term, each of its largest magnitude."""
    spectrum, modulation = _spectrum(factors, term), _modulation(factors, term)
    lowest = min(0.0, float(modulation.min()))
    norm = LogNorm(10.0**-DECADES, 1.0, clip=True)
    for axis, (frequencies, voxels) in enumerate(
        zip(slices(spectrum), slices(modulation), strict=True)
    ):
        left, right = sheet.panel(1, row, axis), sheet.panel(1, row, 3 + axis)
        bright = left.imshow(frequencies, cmap="magma", norm=norm, aspect="auto")
        image = right.imshow(voxels, cmap="viridis", vmin=lowest, vmax=1, aspect="auto")
        if row == 0:
            left.set_title(f"spectrum, $k_{'zyx'[axis]}$ = 0", fontsize=9)
            where = f"{'zyx'[axis]} = {modulation.shape[axis] // 2}"
            right.set_title(f"modulation, {where}", fontsize=9)
        if axis == 0:
            of = f" {term + 1} of {factors.terms}" if factors.terms > 1 else ""
            left.set_ylabel(f"{name}{of}", fontsize=8)
    if row == sheet._rows[1] - 1:
        sheet.bar(bright, 1, (0, 3), "|spectrum|, of its largest value")
        sheet.bar(image, 1, (3, 6), "modulation, of its largest magnitude")


def _spectrum(factors: Factors, term: int) -> torch.Tensor:
    """Return |FFT| of a kernel, zero frequency in the middle, at least as long as the grid."""
    kernel = factors.kernel.values[min(term, factors.kernel.terms - 1)]
    sizes = [max(n, lags) for n, lags in zip(factors.shape, kernel.shape, strict=True)]
    spectrum = torch.fft.fftshift(torch.fft.fftn(kernel, s=sizes).abs())
    return spectrum / spectrum.max()


def _modulation(factors: Factors, term: int) -> torch.Tensor:
    """Return the diagonal of a term; a one-sided model has u, a two-sided one u = conj(v)."""
    assert factors.u is not None
    diagonal = factors.u[min(term, len(factors.u) - 1)]
    values = diagonal.abs() if diagonal.is_complex() else diagonal
    return values / values.abs().max()
