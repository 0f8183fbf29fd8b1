"""The figure of a factor file: its factors, and what they do beside the exact ``A*A``.

The one place that imports matplotlib, which the extra `plot` installs.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.errors import BackendError, InputError, MismatchError
from normalfit.factor_panels import Panel, comparison_rows, term_rows
from normalfit.written_beside import check_output, written_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.factor_file import FactorFile
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec

_Array = np.ndarray[Any, Any]

_MAX_TERMS = 4
_DECADES = 5  # of a kernel or a spectrum that are shown below its maximum
_MAX_BYTES = 300_000
_RESOLUTIONS = (140, 110, 80, 50)  # dots per inch; the first that is small enough
_LEVELS = 64  # colours of each of the four colour maps: together the palette of a PNG
_MAX_ASPECT = 2.0
_WIDTH, _LEFT, _TOP = 16.0, 0.4, 0.4  # inches: of the figure, of its row labels, of its title
_ABOVE, _BELOW, _TICKS, _BAR = 0.3, 0.3, 0.35, 0.72  # inches around an image
_COLOURS = {"log": "magma", "diagonal": "viridis", "object": "gray", "difference": "RdBu_r"}


def plot_factors(
    file: FactorFile, output: str | Path, operator: LinearOperator | None = None
) -> None:
    """Write a PNG of a factor file, of less than 300 kB.

    A row per term (the first four) shows planes of the kernel and of its spectrum in log scale
    and of the diagonals. The last rows show the exact ``A*A`` of a made object, the
    approximation, and their difference; they cost one application of ``A*A`` on the CPU.

    Parameters
    ----------
    file
        The factor file.
    output
        Path of the PNG; it must not exist.
    operator
        The operator that was fitted; None builds the one stored in the file. Where there is
        none, or it is of kind 'python', the last rows show the approximation alone.

    Raises
    ------
    BackendError
        matplotlib is not installed.
    InputError
        `output` exists, cannot be written, or does not end in .png.
    FactorFileError
        The file is damaged.
    MismatchError
        The operator has another grid than the factors.
    """
    _check_suffix(output)
    figure_class = _figure_class()
    with written_beside(output) as fresh:
        factors = file.load()
        operator = operator or stored_operator(file)
        if operator is not None and operator.domain.shape != factors.shape:
            msg = f"operator must act on the grid {factors.shape}, got {operator.domain.shape}"
            raise MismatchError(msg)
        figure = _draw(figure_class, file, factors, operator)
        fresh.write_bytes(_small_png(figure))


def plot_file(file: FactorFile, output: str | Path, spec: OperatorSpec | None = None) -> None:
    """Write a PNG as `plot_factors`, with the operator of a spec, or the one in the file.

    Raises
    ------
    MismatchError
        The factors were fitted to another operator.
    InputError
        As `plot_factors`, before the operator is built.
    """
    _check_suffix(output)
    check_output(output)
    if spec is not None:
        file.check_operator(spec)
    plot_factors(file, output, None if spec is None else spec.build())


def stored_operator(file: FactorFile) -> LinearOperator | None:
    """Build the operator that a factor file holds; None where it holds none or names code.

    A spec of kind 'python' imports a module that the file names: that is for a user to ask
    for, with the YAML, and not for a file.
    """
    if file.spec is None or file.spec.kind == "python":
        return None
    return file.spec.build()


def _check_suffix(output: str | Path) -> None:
    if Path(output).suffix.lower() != ".png":
        msg = f"output must end in .png, as a PNG is written, got {output}"
        raise InputError(msg)


def _small_png(figure: Any) -> bytes:  # noqa: ANN401
    """Return the figure as a PNG of 256 colours, in the best resolution that is small enough.

    The colours are the levels of the four colour maps, so that images lose nothing; the gray
    ones serve the text.
    """
    from PIL import Image

    levels = np.concatenate([_colour_map(name)(range(_LEVELS)) for name in _COLOURS.values()])
    palette = (255 * levels[:, :3]).round().astype(np.uint8)
    for resolution in _RESOLUTIONS:
        image = Image.fromarray(_nearest(palette, _pixels(figure, resolution)))
        image.putpalette(palette.tobytes())
        content = io.BytesIO()
        image.save(content, format="png", optimize=True)
        if content.tell() < _MAX_BYTES:
            break
    return content.getvalue()


def _pixels(figure: Any, resolution: int) -> _Array:  # noqa: ANN401
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(resolution)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _nearest(palette: _Array, pixels: _Array) -> _Array:
    """Return for every pixel the index of the nearest colour."""
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    used, place = np.unique(codes, return_inverse=True)
    colours = np.stack([used >> 16, used >> 8 & 255, used & 255], axis=-1)
    distance = ((colours[:, None] - palette.astype(np.int32)) ** 2).sum(-1)
    return distance.argmin(1).astype(np.uint8)[place].reshape(codes.shape)


def _colour_map(name: str) -> Any:  # noqa: ANN401
    from matplotlib import colormaps

    return colormaps[name].resampled(_LEVELS)


def _figure_class() -> Any:  # noqa: ANN401 - matplotlib may be missing
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "matplotlib must be installed to plot, got none; pip install 'normalfit[plot]'"
        raise BackendError(msg) from error
    return Figure


def _draw(
    figure_class: Any,  # noqa: ANN401
    file: FactorFile,
    factors: Factors,
    operator: LinearOperator | None,
) -> Any:  # noqa: ANN401
    rows: dict[str, list[Panel]] = {}
    for k in range(min(factors.terms, _MAX_TERMS)):
        rows |= term_rows(factors, k)
    rows |= comparison_rows(factors, operator)
    heights = [_height(panels) for panels in rows.values()]
    figure = figure_class(figsize=(_WIDTH, _TOP + sum(heights)))
    figure.text(0.5, 1 - 0.5 * _TOP / (_TOP + sum(heights)), _title(file), ha="center", va="center")
    top = _TOP
    for height, (label, panels) in zip(heights, rows.items(), strict=True):
        _draw_row(figure, panels, label, top, height)
        top += height
    return figure


def _height(panels: Sequence[Panel]) -> float:
    """Height of a row in inches: of its tallest image, and of its title and ticks."""
    tallest = max(panel.image.shape[0] / panel.image.shape[1] for panel in panels)
    return _ABOVE + _BELOW + min(tallest, _MAX_ASPECT) * _image_width(panels)


def _image_width(panels: Sequence[Panel]) -> float:
    return (_WIDTH - _LEFT) / len(panels) - _TICKS - _BAR


def _title(file: FactorFile) -> str:
    kind = "operator" if file.header.operator is None else file.header.operator.get("kind")
    size = " × ".join(map(str, file.shape))
    terms = f"{file.terms} term{'s' * (file.terms > 1)}"
    boundary = " × ".join(sorted(set(file.boundary)))
    return f"{kind}, {size}, {terms}, {boundary} boundary"


def _draw_row(
    figure: Any,  # noqa: ANN401
    panels: Sequence[Panel],
    label: str,
    top: float,
    height: float,
) -> None:
    """Draw a row of panels that begins `top` inches below the figure's upper edge.

    The layout is arithmetic: matplotlib's layout engines take longer than all of the drawing.
    """
    total, width = figure.get_figheight(), _image_width(panels)
    middle = 1 - (top + _ABOVE + 0.5 * (height - _ABOVE - _BELOW)) / total
    figure.text(0.3 * _LEFT / _WIDTH, middle, label, rotation=90, ha="center", va="center")
    for index, panel in enumerate(panels):
        left = _LEFT + index * (_WIDTH - _LEFT) / len(panels) + _TICKS
        box = (
            left / _WIDTH,
            1 - (top + height - _BELOW) / total,
            width / _WIDTH,
            (height - _ABOVE - _BELOW) / total,
        )
        _draw_panel(figure, figure.add_axes(box), panel)


def _draw_panel(figure: Any, axes: Any, panel: Panel) -> None:  # noqa: ANN401
    drawn = axes.imshow(
        panel.image,
        cmap=_colour_map(_COLOURS[panel.style]),
        norm=_norm(panel),
        extent=_extent(panel),
        interpolation="nearest",
    )
    axes.set_title(panel.title, fontsize=9)
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    for ticks in (axes, bar.ax):
        ticks.tick_params(labelsize=7)


def _norm(panel: Panel) -> Any:  # noqa: ANN401
    from matplotlib.colors import CenteredNorm, LogNorm, Normalize

    if panel.style == "log":
        largest = float(panel.image.max()) or 1.0
        return LogNorm(largest / 10**_DECADES, largest, clip=True)
    if panel.style == "difference":
        return CenteredNorm(halfrange=float(np.abs(panel.image).max()) or 1.0)
    return Normalize(*(panel.limits or (float(panel.image.min()), float(panel.image.max()))))


def _extent(panel: Panel) -> tuple[float, float, float, float]:
    """Pixel centres at whole coordinates, rows downwards."""
    (top, left), (rows, columns) = panel.origin, panel.image.shape
    return left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5
