"""The header of a factor file: its attributes as a checked document (docs/factor-file.md)."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import ConfigDict, Field, JsonValue

FORMAT = "normalfit-factors"
VERSION = "1.0"
CHUNK_SIDE = 64  # 1 MB of float32 in 3-D: a 64³ patch touches at most 8 of them
FACTORS = ("kernel", "u", "v")
FACTOR_DTYPES = ("float32", "float64", "complex64", "complex128")

_UTC = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00$"
_MAX_AXES = 8
MAX_TERMS = 4096

Problem = tuple[str, str]
_Count = Annotated[int, Field(ge=1)]
_Shape = Annotated[tuple[_Count, ...], Field(min_length=1, max_length=_MAX_AXES + 1)]
_Axes = Annotated[tuple[_Count, ...], Field(min_length=1, max_length=_MAX_AXES)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Document(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArrayEntry(_Document):
    """Shape, dtype and chunk shape of one array of the file."""

    shape: _Shape
    dtype: Literal[
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    ]  # fmt: skip
    chunks: _Shape


class NormEntry(_Document):
    """The spectral norm of ``N``, as estimated by the Lanczos iteration."""

    value: Annotated[_Number, Field(ge=0)]
    converged: bool
    iterations: Annotated[int, Field(ge=0)]


class CheckEntry(_Document):
    """The patch on which a probe and its response are stored, and the probe's seed."""

    offset: tuple[Annotated[int, Field(ge=0)], ...]
    shape: _Axes
    seed: int


class CommonHeader(_Document):
    """What the headers of all versions say."""

    format: Literal["normalfit-factors"] = "normalfit-factors"
    version: str
    shape: _Axes
    voxel_mm: tuple[Annotated[_Number, Field(gt=0)], ...] | None
    boundary: tuple[Literal["periodic", "linear"], ...]
    dtype: Literal["float32", "float64", "complex64", "complex128"]
    arrays: dict[str, ArrayEntry]
    operator: dict[str, JsonValue] | None
    fingerprint: Annotated[str, Field(min_length=1)]
    norm: NormEntry
    adjointness: Annotated[_Number, Field(ge=0)]
    report: dict[str, JsonValue]
    versions: dict[str, str]
    command: str | None
    created: str
    hermitian: bool | None = None
    check: CheckEntry | None = None

    @property
    def terms(self) -> int:
        """Number K of terms."""
        return max(self.arrays[name].shape[0] for name in FACTORS if name in self.arrays)

    @property
    def lags(self) -> tuple[int, ...]:
        """Lags per axis of the kernels."""
        return self.arrays["kernel"].shape[1:]


class Header(CommonHeader):
    """The attributes of a factor file, version 1.0; the fields are described in the docs."""

    version: Annotated[str, Field(pattern=r"^1\.(0|[1-9][0-9]*)$")] = VERSION
    created: Annotated[str, Field(pattern=_UTC)]
    hermitian: bool
    check: CheckEntry


def expected_chunks(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk shape of an array: sides of at most 64, and of 1 along the terms."""
    chunks = tuple(min(CHUNK_SIDE, n) for n in shape)
    return (1, *chunks[1:]) if name in FACTORS else chunks
