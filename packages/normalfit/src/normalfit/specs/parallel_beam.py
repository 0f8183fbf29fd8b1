"""Spec of kind `parallel_beam`: 2-D, or 3-D slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from normalfit.grid import Grid
from normalfit.specs.array_file import finite_real
from normalfit.specs.operator_config import Arrays, Attachments, OperatorConfig, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import (
    MAX_SAMPLES,
    AxisLengths,
    Backend,
    Count,
    FileName,
    Finite,
    GridShape,
    Positive,
    Views,
)

if TYPE_CHECKING:
    from normalfit.operators.parallel_beam import ParallelBeam


def _angles(array: np.ndarray) -> np.ndarray:
    if array.ndim == 0 or array.size != max(array.shape, default=0):
        msg = f"must hold one angle per view, not shape {array.shape}"
        raise ValueError(msg)
    return finite_real(array).ravel()


class ParallelBeamSpec(OperatorConfig):
    """Keys of a parallel beam operator; the angles are given in one of three ways."""

    file_keys: ClassVar = {"angles_file": _angles}

    kind: Literal["parallel_beam"]
    volume_shape: Annotated[GridShape, Field(min_length=2)]
    num_columns: Count
    pixel_mm: Positive
    voxel_mm: AxisLengths | None = None
    rotation_axis_column: Finite | None = None
    angles_file: FileName | None = None
    angles_deg: Annotated[tuple[Finite, ...], Field(min_length=1)] | None = None
    num_views: Views | None = None
    angle_start_deg: Finite | None = None
    angle_range_deg: Finite | None = None
    backend: Backend = "auto"

    @field_validator("voxel_mm")
    @classmethod
    def _voxels_as_pixels(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        if value is None and {"volume_shape", "pixel_mm"} <= set(info.data):
            return (info.data["pixel_mm"],) * len(info.data["volume_shape"])
        return value

    @field_validator("rotation_axis_column")
    @classmethod
    def _axis_in_the_middle(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and "num_columns" in info.data:
            return (info.data["num_columns"] - 1) / 2
        return value

    @field_validator("angles_deg")
    @classmethod
    def _one_list_of_angles(cls, value: object, info: ValidationInfo) -> object:
        return value if value is None else either(value, info, "angles_file")

    @field_validator("num_views")
    @classmethod
    def _number_of_angles(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "angles_file", "angles_deg")

    @field_validator("angle_start_deg")
    @classmethod
    def _start(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "angles_file", "angles_deg", default=0.0)

    @field_validator("angle_range_deg")
    @classmethod
    def _range(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "angles_file", "angles_deg", default=180.0)

    @property
    def grid(self) -> Grid:
        return Grid(self.volume_shape, self.voxel_mm)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        rows = self.volume_shape[0] if len(self.volume_shape) == 3 else 1
        num_views = self.num_views or len(arrays.get("angles_file", self.angles_deg or ()))
        if rows * num_views * self.num_columns > MAX_SAMPLES:
            requirement = f"must make at most 2^40 samples with {num_views} views of {rows} rows"
            yield problem("num_columns", requirement, self.num_columns)

    def build(self, attachments: Attachments) -> ParallelBeam:
        from normalfit.operators.parallel_beam import ParallelBeam
        from normalfit.operators.parallel_geometry import ParallelGeometry

        geometry = ParallelGeometry(
            angles_rad=np.deg2rad(self._angles_deg(attachments.arrays)),
            num_columns=self.num_columns,
            column_mm=self.pixel_mm,
            axis_column=self.rotation_axis_column,
        )
        return ParallelBeam(self.grid, geometry, self.backend)

    def _angles_deg(self, arrays: Arrays) -> np.ndarray:
        """Return the angles; the end of a range is left out, as it repeats the start."""
        if self.num_views is None:
            return np.array(arrays.get("angles_file", self.angles_deg), dtype=np.float64)
        steps = np.arange(self.num_views) / self.num_views
        return (self.angle_start_deg or 0.0) + (self.angle_range_deg or 0.0) * steps
