"""plot_comparison and plot_methods: orthogonal slices of reconstructions beside their reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from normalfit.written_beside import written_beside
from partunroll.errors import InputError
from partunroll.volumes.panel_layout import PanelLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Kind = Literal["reference", "volume", "difference"]

MAX_BYTES = 300_000
RESOLUTIONS = (160, 120, 90, 65, 45)  # dots per inch; the first that is small enough
GRAY_PERCENTILES = (0.1, 99.9)  # of the reference: a few bright voxels must not darken the rest
DIFFERENCE_PERCENTILE = 99.5  # of the absolute differences that are shown
TINY = 1e-12  # a scale needs some extent, also where nothing differs
COLOURS: dict[str, tuple[Kind, ...]] = {"gray": ("reference", "volume"), "RdBu_r": ("difference",)}


def plot_comparison(
    reference: torch.Tensor,
    volumes: Mapping[str, torch.Tensor],
    output: Path,
    captions: Mapping[str, str] | None = None,
) -> None:
    """Draw orthogonal middle slices: reference, volumes, and the last volume's difference.

    All volumes share the gray scale of the reference; the difference has its own, symmetric.

    Parameters
    ----------
    reference
        ``(z, y, x)`` or ``(y, x)``.
    volumes
        Volumes of the same shape by title, at least one.
    output
        A new PNG, of less than 300 kB.
    captions
        Lines below the titles, such as PSNR and SSIM, by title.

    Raises
    ------
    InputError
        `output` exists, or a shape differs from the reference's.
    """
    columns = _columns(reference, volumes, captions or {})
    title, last = list(volumes.items())[-1]
    difference = _panels(last - reference, "difference", "difference", f"{title} − reference")
    _draw(list(zip(*columns, difference, strict=True)), output, len(columns))


def plot_methods(
    reference: torch.Tensor,
    volumes: Mapping[str, torch.Tensor],
    output: Path,
    captions: Mapping[str, str] | None = None,
) -> None:
    """Draw orthogonal middle slices of several methods, and below them their differences.

    Arguments and errors as for `plot_comparison`. The last row holds, of the first slice, each
    volume minus the reference, on one symmetric scale.
    """
    columns = _columns(reference, volumes, captions or {})
    differences = [_panels(x - reference, "difference")[0] for x in volumes.values()]
    label = f"difference, {columns[0][0].label}".rstrip(", ")
    differences[0] = replace(differences[0], label=label)
    _draw([*zip(*columns, strict=True), (None, *differences)], output, (len(columns) + 1) // 2)


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice of a volume.

    Parameters
    ----------
    image
        The slice.
    kind
        What it is a slice of, which decides its colours.
    title, caption
        What stands above it.
    label
        What stands to its left: which slice it is, such as ``z = 24``.
    """

    image: np.ndarray
    kind: Kind
    title: str = ""
    caption: str = ""
    label: str = ""


def _columns(
    reference: torch.Tensor, volumes: Mapping[str, torch.Tensor], captions: Mapping[str, str]
) -> list[list[Panel]]:
    for title, x in volumes.items():
        if x.shape != reference.shape or x.ndim not in (2, 3):
            msg = (
                f"{title} must have the shape of the reference, with 2 or 3 axes, "
                f"{tuple(reference.shape)}, got {tuple(x.shape)}"
            )
            raise InputError(msg)
    return [
        _panels(reference, "reference", "reference"),
        *(_panels(x, "volume", title, captions.get(title, "")) for title, x in volumes.items()),
    ]


def _panels(volume: torch.Tensor, kind: Kind, title: str = "", caption: str = "") -> list[Panel]:
    """Return the middle slice across every axis, the slowest first; the first has the title."""
    x = volume.detach().cpu().numpy().astype(np.float32)
    if x.ndim == 2:
        return [Panel(x, kind, title, caption)]
    middles = [n // 2 for n in x.shape]
    labels = [
        f"{name} = {n}" if kind == "reference" else ""
        for name, n in zip("zyx", middles, strict=True)
    ]
    across_z, *others = (
        Panel(x.take(middle, axis), kind, label=labels[axis]) for axis, middle in enumerate(middles)
    )
    return [replace(across_z, title=title, caption=caption), *others]


def _draw(rows: Sequence[Sequence[Panel | None]], output: Path, gray_columns: int) -> None:
    """Draw a table of panels; the gray scale goes below the first columns, the other beside."""
    captioned = any(panel.caption for row in rows for panel in row if panel)
    aspects = tuple(max(_aspect(panel) for panel in row if panel) for row in rows)
    layout = PanelLayout(aspects, len(rows[0]), title_lines=2 if captioned else 1)
    figure = Figure(figsize=layout.size)
    for colours, kinds in COLOURS.items():
        shown = {
            (i, j): panel
            for i, row in enumerate(rows)
            for j, panel in enumerate(row)
            if panel is not None and panel.kind in kinds
        }
        limits = _limits(list(shown.values()))
        for place, panel in shown.items():
            axes = figure.add_axes(layout.panel(*place))
            image = _draw_panel(axes, panel, colours, limits)
            axes.set_title(panel.title, fontsize=10, pad=14 if captioned else 4)
        columns = (0, gray_columns) if colours == "gray" else (gray_columns, len(rows[0]))
        _draw_bar(figure, image, layout.bar(*columns), kinds[-1])
    _save(figure, output)


def _draw_panel(axes: Axes, panel: Panel, colours: str, limits: tuple[float, float]) -> AxesImage:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    axes.set_ylabel(panel.label, fontsize=8, labelpad=3)
    if panel.caption:
        axes.annotate(
            panel.caption,
            xy=(0.5, 1),
            xytext=(0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color="0.3",
        )
    low, high = limits
    return axes.imshow(
        panel.image, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto"
    )


def _draw_bar(
    figure: Figure, image: AxesImage, place: tuple[float, float, float, float], kind: Kind
) -> None:
    axes = figure.add_axes(place)
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", extend="both")
    bar.set_label("difference" if kind == "difference" else "value", fontsize=8)
    bar.ax.tick_params(labelsize=7, width=0.5)
    bar.outline.set_linewidth(0.5)


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the shared scale of panels: the reference's, or a symmetric one of differences."""
    reference = [panel.image.ravel() for panel in panels if panel.kind == "reference"]
    if reference:
        low, high = np.percentile(np.concatenate(reference), GRAY_PERCENTILES)
        return float(low), float(max(high, low + TINY))
    values = np.concatenate([np.abs(panel.image).ravel() for panel in panels])
    largest = max(float(np.percentile(values, DIFFERENCE_PERCENTILE)), TINY)
    return -largest, largest


def _aspect(panel: Panel) -> float:
    rows, columns = panel.image.shape
    return rows / columns


def _save(figure: Figure, output: Path) -> None:
    """Write the sharpest picture that is small enough, with 256 colours if need be."""
    with written_beside(output) as fresh:
        for resolution in RESOLUTIONS:
            figure.savefig(fresh, dpi=resolution, format="png")
            if fresh.stat().st_size < MAX_BYTES:
                return
            with Image.open(fresh) as picture:
                few_colours = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            few_colours.save(fresh, format="png", optimize=True)
            if fresh.stat().st_size < MAX_BYTES:
                return
