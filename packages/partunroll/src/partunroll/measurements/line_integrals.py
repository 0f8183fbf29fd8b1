"""line_integrals: detector counts, flat and dark fields to −log((p − dark) / (flat − dark))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partunroll.errors import InputError

MAX_RADIUS = 8  # a hole wider than 17 pixels cannot be guessed from its neighbours; our choice


@dataclass(frozen=True)
class LineIntegrals:
    """Line integrals and how many of them had to be guessed.

    Attributes
    ----------
    values
        float32 ``(views, rows, columns)``.
    num_replaced
        Values taken from their neighbours, of all views.
    dead_pixels
        Detector pixels ``(row, column)`` that were replaced in every view.
    """

    values: np.ndarray
    num_replaced: int
    dead_pixels: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return (
            f"line integrals {self.values.shape} from {self.values.min():.3g} to "
            f"{self.values.max():.3g}; {self.num_replaced} of {self.values.size} values replaced "
            f"by the median of their neighbours ({len(self.dead_pixels)} dead pixels)"
        )


def line_integrals(
    projections: np.ndarray, flat: np.ndarray, dark: np.ndarray | float = 0.0
) -> LineIntegrals:
    """Return ``−log((projections − dark) / (flat − dark))`` with dead pixels replaced.

    Pixels where either difference is not positive, or not finite, have no logarithm. They take
    the median of the good pixels of the same view around them: 3×3, or the smallest larger
    square that holds one.

    Parameters
    ----------
    projections
        Counts ``(views, rows, columns)``.
    flat, dark
        Fields ``(rows, columns)``, stacks of them ``(n, rows, columns)`` (averaged), or a number.

    Raises
    ------
    InputError
        The shapes do not fit, the flat field is not brighter than the dark one in most pixels, or
        a hole is too wide to be filled.
    """
    if projections.ndim != 3:
        msg = f"projections must be (views, rows, columns), got shape {projections.shape}"
        raise InputError(msg)
    shape = projections.shape[1:]
    dark = _field("dark", dark, shape)
    open_beam = _field("flat", flat, shape) - dark
    _check_fields(open_beam)
    transmitted = np.asarray(projections, dtype=np.float64) - dark
    good = (transmitted > 0) & (open_beam > 0) & np.isfinite(transmitted) & np.isfinite(open_beam)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(good, -np.log(transmitted / open_beam), np.nan).astype(np.float32)
    dead = tuple((int(row), int(column)) for row, column in np.argwhere(~good.any(axis=0)))
    return LineIntegrals(_fill(values), int(values.size - np.count_nonzero(good)), dead)


def _check_fields(open_beam: np.ndarray) -> None:
    share = float(np.mean(open_beam > 0))  # NaN is not
    if share <= 0.5:
        msg = (
            f"flat must be brighter than dark in most pixels, got {share:.0%}; "
            "were the two exchanged?"
        )
        raise InputError(msg)


def _field(name: str, field: np.ndarray | float, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(field, dtype=np.float64)
    if values.ndim == 3:
        values = values.mean(axis=0)
    if values.ndim != 0 and values.shape != shape:
        msg = f"{name} must be of the detector's shape {shape}, got {np.shape(field)}"
        raise InputError(msg)
    return np.broadcast_to(values, shape)


def _fill(values: np.ndarray) -> np.ndarray:
    """Replace NaN by the median of the good pixels around, in growing squares."""
    filled = values.copy()
    for radius in range(1, MAX_RADIUS + 1):
        holes = np.argwhere(np.isnan(filled))
        if len(holes) == 0:
            return filled
        side = 2 * radius + 1
        border = ((0, 0), (radius, radius), (radius, radius))
        padded = np.pad(values, border, constant_values=np.nan)
        squares = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
        around = squares[tuple(holes.T)].reshape(len(holes), -1)
        fillable = ~np.isnan(around).all(axis=1)
        filled[tuple(holes[fillable].T)] = np.nanmedian(around[fillable], axis=1)
    _check_filled(filled)
    return filled


def _check_filled(values: np.ndarray) -> None:
    holes = np.argwhere(np.isnan(values))
    if len(holes) == 0:
        return
    view, row, column = (int(i) for i in holes[0])
    msg = (
        f"projections must have a good pixel within {MAX_RADIUS} pixels of every dead one, "
        f"got none around view {view}, row {row}, column {column}; crop the detector"
    )
    raise InputError(msg)
