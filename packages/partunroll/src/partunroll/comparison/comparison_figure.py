"""draw_comparison: the picture of a comparison: one test sample, as every row shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from partunroll.comparison.central_part import central_shape
from partunroll.comparison.row_reconstruction import read_volume
from partunroll.comparison.zoom_figure import Shown, ZoomFigure, busiest_window
from partunroll.errors import InputError
from partunroll.store.data_store import DataStore
from partunroll.volumes.image_metrics import magnitude

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from partunroll.comparison.comparison_data import ComparisonData
    from partunroll.comparison.recipe import Recipe
    from partunroll.comparison.row_results import RowResult

_ZOOM_SHARE = 4  # a side of the picture over that of the zoomed part  # our choice


def draw_comparison(
    recipe: Recipe,
    data: ComparisonData,
    results: tuple[RowResult, ...],
    folders: Mapping[str, Path],
    output: Path,
) -> None:
    """Draw a slice of one sample: reference and rows with a zoomed part, and their errors.

    Parameters
    ----------
    recipe
        Its ``figure`` says which sample, slice, part and rows.
    data
        The samples.
    results
        The rows, with the figures to write above them.
    folders
        Where the reconstructions of a row are, of the first seed that has some, by its name.
    output
        PNG; an earlier one is replaced.

    Raises
    ------
    InputError
        The figure's column, sample or slice is not there.
    """
    section = recipe.figure
    column = section.column or next(iter(data.columns))
    if column not in data.columns:
        msg = f"figure.column must be one of {', '.join(data.columns)}, got {column!r}"
        raise InputError(msg)
    samples = data.samples("test", column)
    if section.sample >= len(samples):
        msg = f"figure.sample must be below {len(samples)}, got {section.sample}"
        raise InputError(msg)
    name = samples[section.sample].id
    reference = magnitude(torch.from_numpy(DataStore.open(data.tested).read(name, "reference")))
    axis, index = section.axis, section.index
    if axis >= reference.ndim or (index or 0) >= reference.shape[axis]:
        msg = f"figure must show a slice of {tuple(reference.shape)}, got axis {axis}, {index}"
        raise InputError(msg)
    truth = _slice(reference, axis, index, recipe.crop)
    rows = [
        row
        for row in results
        if row.name in folders and (section.rows is None or row.name in section.rows)
    ]
    shown = []
    for row in rows:
        x = magnitude(read_volume(folders[row.name], name))
        psnr = (row.finished[0].volumes or {})[column][name].psnr
        image = _slice(x, axis, index, recipe.crop)
        shown.append(Shown(row.name, f"{psnr:.2f} dB", image, highlighted=row.ours))
    side = max(1, min(truth.shape) // _ZOOM_SHARE)
    zoom = section.zoom or busiest_window(truth, side)
    title = f"{name}, {column}: {'zyx'[-reference.ndim :][axis]} = {_index(reference, axis, index)}"
    ZoomFigure(truth, tuple(shown), zoom, title).draw(output)


def _index(x: torch.Tensor, axis: int, index: int | None) -> int:
    return x.shape[axis] // 2 if index is None else index


def _slice(x: torch.Tensor, axis: int, index: int | None, crop: float | None) -> np.ndarray:
    """Return a slice, ``(rows, columns)``, of the part that figures are taken of."""
    if x.ndim == 3:
        image = x.select(axis, _index(x, axis, index))
        shape = [n for i, n in enumerate(central_shape(tuple(x.shape), crop)) if i != axis]
    else:
        image, shape = x, list(central_shape(tuple(x.shape), crop))
    starts = [(n - m) // 2 for n, m in zip(image.shape, shape, strict=True)]
    part = tuple(slice(start, start + m) for start, m in zip(starts, shape, strict=True))
    return image[part].numpy().astype(np.float32)
