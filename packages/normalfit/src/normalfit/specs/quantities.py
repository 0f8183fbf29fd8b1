"""Types of the values in a spec: counts, lengths and shapes, each with its limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

MAX_SAMPLES = 2**40  # 4 TiB of float32: beyond this a shape is a slip of the pen

_Scalar = int | float | str


def number(value: object) -> object:
    """Refuse what pydantic would turn into a number: ``true`` and quoted text."""
    if isinstance(value, bool | str):
        msg = "must be a number"
        raise ValueError(msg)
    return value


def _not_absurd(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > MAX_SAMPLES:
        msg = f"must have at most 2^40 samples in all, {math.prod(shape)} are too many"
        raise ValueError(msg)
    return shape


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, _Scalar) else value


def _triple(value: object) -> object:
    return (value, value, value) if isinstance(value, _Scalar) else value


def per_axis(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - before pydantic's checks
    """Repeat one value for every axis of `volume_shape`, which must stand before the field."""
    num_axes = len(info.data.get("volume_shape", ()))  # 0 where the shape has a problem itself
    if isinstance(value, _Scalar):
        return (value,) * (num_axes or 1)
    if num_axes and isinstance(value, Sequence) and len(value) != num_axes:
        msg = f"must be one value or {num_axes}, one per axis of volume_shape"
        raise ValueError(msg)
    return value


Count = Annotated[int, BeforeValidator(number), Field(ge=1, le=MAX_SAMPLES)]
Views = Annotated[Count, Field(le=2**20)]
Seed = Annotated[int, BeforeValidator(number), Field(ge=0, le=2**53)]
Finite = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False)]
Positive = Annotated[Finite, Field(gt=0)]
Fraction = Annotated[Finite, Field(gt=0, le=1)]
FileName = Annotated[str, Field(min_length=1)]
Backend = Literal["auto", "astra", "numba"]

PlaneShape = Annotated[tuple[Count, Count], AfterValidator(_not_absurd)]
SpaceShape = Annotated[tuple[Count, Count, Count], AfterValidator(_not_absurd)]
GridShape = Annotated[
    tuple[Count, ...], Field(min_length=1, max_length=3), AfterValidator(_not_absurd)
]
PlaneLengths = Annotated[tuple[Positive, Positive], BeforeValidator(_pair)]
SpaceLengths = Annotated[tuple[Positive, Positive, Positive], BeforeValidator(_triple)]
AxisLengths = Annotated[tuple[Positive, ...], BeforeValidator(per_axis)]
