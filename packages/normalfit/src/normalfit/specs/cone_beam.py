"""Spec of kind `cone_beam`: a circular orbit, or the vectors of any orbit from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from normalfit.grid import Grid
from normalfit.specs.array_file import finite_real
from normalfit.specs.operator_config import Arrays, Attachments, OperatorConfig, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import (
    MAX_SAMPLES,
    Backend,
    FileName,
    Finite,
    PlaneLengths,
    PlaneShape,
    Positive,
    SpaceLengths,
    SpaceShape,
    Views,
)

if TYPE_CHECKING:
    from normalfit.operators.cone_beam import ConeBeam
    from normalfit.operators.cone_geometry import ConeGeometry


_ORBIT_KEYS = {
    "num_views",
    "source_origin_mm",
    "origin_detector_mm",
    "detector_shape",
    "pixel_mm",
    "angle_start_deg",
    "angle_range_deg",
}


def _cone_vectors(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.shape[1] != 12:
        msg = f"must hold one row of 12 numbers per view (cone_vec), not shape {array.shape}"
        raise ValueError(msg)
    return finite_real(array)


class ConeBeamSpec(OperatorConfig):
    """Keys of a cone beam operator; `cone_vec_file` excludes the keys of the circular orbit."""

    file_keys: ClassVar = {"cone_vec_file": _cone_vectors}

    kind: Literal["cone_beam"]
    volume_shape: SpaceShape
    voxel_mm: SpaceLengths
    detector_shape: PlaneShape
    cone_vec_file: FileName | None = None
    num_views: Views | None = None
    source_origin_mm: Positive | None = None
    origin_detector_mm: Positive | None = None
    pixel_mm: PlaneLengths | None = None
    angle_start_deg: Finite | None = None
    angle_range_deg: Finite | None = None
    backend: Backend = "auto"

    @field_validator("num_views", "source_origin_mm", "origin_detector_mm", "pixel_mm")
    @classmethod
    def _needed_by_orbit(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "cone_vec_file")

    @field_validator("angle_start_deg")
    @classmethod
    def _start(cls, value: float | None, info: ValidationInfo) -> object:
        return either(value, info, "cone_vec_file", default=0.0)

    @field_validator("angle_range_deg")
    @classmethod
    def _range(cls, value: float | None, info: ValidationInfo) -> object:
        return either(value, info, "cone_vec_file", default=360.0)

    @property
    def grid(self) -> Grid:
        return Grid(self.volume_shape, self.voxel_mm)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        num_views = self.num_views or len(arrays.get("cone_vec_file", ()))
        if num_views * math.prod(self.detector_shape) > MAX_SAMPLES:
            requirement = f"must make at most 2^40 samples with {num_views} views"
            yield problem("detector_shape", requirement, list(self.detector_shape))

    def build(self, attachments: Attachments) -> ConeBeam:
        from normalfit.operators.cone_beam import ConeBeam

        return ConeBeam(self.grid, self._geometry(attachments.arrays), self.backend)

    def _geometry(self, arrays: Arrays) -> ConeGeometry:
        from normalfit.operators.cone_geometry import ConeGeometry

        if "cone_vec_file" in arrays:
            vectors = np.array(arrays["cone_vec_file"])
            return ConeGeometry(vectors=vectors, detector_shape=self.detector_shape)
        return ConeGeometry.circular_orbit(**self.model_dump(include=_ORBIT_KEYS))
