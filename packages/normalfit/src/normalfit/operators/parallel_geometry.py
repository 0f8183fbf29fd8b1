"""ParallelGeometry: angles and detector columns of a parallel-beam scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from normalfit.errors import InputError
from normalfit.operators.detector_windows import DetectorWindows, footprint_corners_mm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from normalfit.grid import Grid, Patch


@dataclass(frozen=True, eq=False, init=False)
class ParallelGeometry:
    """Angles and detector of a parallel-beam scan around the z axis, in ASTRA's convention.

    In the view at angle θ the rays run along ``(sin θ, -cos θ)`` (x, y). Column c sees the line
    at the distance ``(c - axis_column) · column_mm`` along ``(cos θ, sin θ)`` from the axis of
    rotation, which is the centre of the volume. x and y grow with the volume's indices.

    Parameters
    ----------
    angles_rad
        One angle per view. Kept as read-only float64.
    num_columns
        Number of detector columns.
    column_mm
        Width of a column.
    axis_column
        Column, counted from 0 and fractional, that sees the axis of rotation; None for the
        centre of the detector.

    Raises
    ------
    InputError
        There is no view or no column, a number is not finite or the width is not positive.
    """

    angles_rad: NDArray[np.float64]
    num_columns: int
    column_mm: float
    axis_column: float

    def __init__(
        self,
        angles_rad: ArrayLike,
        num_columns: int,
        column_mm: float,
        axis_column: float | None = None,
    ) -> None:
        angles = np.array(angles_rad, np.float64)
        angles.flags.writeable = False
        centre = (num_columns - 1) / 2 if axis_column is None else axis_column
        object.__setattr__(self, "angles_rad", angles)
        object.__setattr__(self, "num_columns", int(num_columns))
        object.__setattr__(self, "column_mm", float(column_mm))
        object.__setattr__(self, "axis_column", float(centre))
        self.__post_init__()

    def __post_init__(self) -> None:
        angles = self.angles_rad
        if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
            msg = f"angles_rad must be a list of finite angles, one per view, got {angles}"
            raise InputError(msg)
        if self.num_columns < 1:
            msg = f"num_columns must be at least 1, got {self.num_columns}"
            raise InputError(msg)
        if not (math.isfinite(self.column_mm) and self.column_mm > 0):
            msg = f"column_mm must be a positive length, got {self.column_mm}"
            raise InputError(msg)
        if not math.isfinite(self.axis_column):
            msg = f"axis_column must be finite, got {self.axis_column}"
            raise InputError(msg)

    @property
    def num_views(self) -> int:
        """Number of views."""
        return len(self.angles_rad)

    @property
    def directions(self) -> NDArray[np.float64]:
        """Sine and cosine of every angle, ``(views, 2)``."""
        return np.stack([np.sin(self.angles_rad), np.cos(self.angles_rad)], axis=1)

    def refined(self, factor: int) -> ParallelGeometry:
        """Return the same detector with `factor` times as many columns."""
        return ParallelGeometry(
            self.angles_rad,
            factor * self.num_columns,
            self.column_mm / factor,
            factor * self.axis_column + (factor - 1) / 2,
        )

    def windows(self, grid: Grid, patch: Patch) -> DetectorWindows:
        """Return the columns whose rays can meet a patch of the plane's grid ``(y, x)``."""
        sin, cos = self.directions.T[:, :, None]
        y, x = footprint_corners_mm(grid, patch).T
        columns = self.axis_column + (x * cos + y * sin) / self.column_mm
        low, high = columns.min(axis=1, keepdims=True), columns.max(axis=1, keepdims=True)
        return DetectorWindows.around(low, high, (self.num_columns,))
