"""The header of a factor file: its attributes as a checked document (docs/factor-file.md)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field, JsonValue

from normalfit.errors import FactorFileError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "normalfit-factors"
VERSION = "0.1"
CHUNK_SIDE = 64  # 1 MB of float32 in 3-D: a 64³ patch touches at most 8 of them
FACTORS = ("kernel", "u", "v")
FACTOR_DTYPES = ("float32", "float64", "complex64", "complex128")

_MAX_AXES = 8
_MAX_TERMS = 4096
_Count = Annotated[int, Field(ge=1, lt=2**31)]
_Shape = Annotated[tuple[_Count, ...], Field(min_length=1, max_length=_MAX_AXES + 1)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Document(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArrayEntry(_Document):
    """Shape, dtype and chunk shape of one array of the file."""

    shape: _Shape
    dtype: str
    chunks: _Shape


class NormEntry(_Document):
    """The spectral norm of ``N``, as estimated by the Lanczos iteration."""

    value: Annotated[_Number, Field(ge=0)]
    converged: bool
    iterations: Annotated[int, Field(ge=0)]


class Header(_Document):
    """The attributes of a factor file, version 0.1; the fields are described in the docs."""

    format: Literal["normalfit-factors"] = "normalfit-factors"
    version: Literal["0.1"] = "0.1"
    shape: Annotated[tuple[_Count, ...], Field(min_length=1, max_length=_MAX_AXES)]
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

    @pydantic.model_validator(mode="after")
    def _arrays_fit(self) -> Header:
        """Refuse a header whose parts contradict each other, before anything is allocated."""
        problems = _contradictions(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def terms(self) -> int:
        """Number K of terms."""
        return max(self.arrays[name].shape[0] for name in FACTORS if name in self.arrays)

    @property
    def lags(self) -> tuple[int, ...]:
        """Lags per axis of the kernels."""
        return self.arrays["kernel"].shape[1:]


def expected_chunks(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk shape of an array: sides of at most 64, and of 1 along the terms."""
    chunks = tuple(min(CHUNK_SIDE, n) for n in shape)
    return (1, *chunks[1:]) if name in FACTORS else chunks


def make_header(document: dict[str, Any]) -> Header:
    """Return the header that a writer means, checked as a reader will check it.

    Raises
    ------
    InputError
        The document is not a header's; every problem is listed with its place.
    """
    try:
        return Header.model_validate_json(json.dumps(document, allow_nan=False))
    except pydantic.ValidationError as error:
        raise InputError(_problems(error)) from error
    except (TypeError, ValueError) as error:
        msg = f"metadata must be finite JSON values, got {error}"
        raise InputError(msg) from error


def to_attributes(header: Header) -> dict[str, Any]:
    """Return the header as the attributes of the root group, with their checksum."""
    attributes = header.model_dump(mode="json")
    return {**attributes, "checksum": _checksum(attributes)}


def parse_header(attributes: Mapping[str, Any]) -> Header:
    """Return the header that the attributes of a root group hold.

    Raises
    ------
    FactorFileError
        They are not a factor file's, of another version, damaged, or contradict each other;
        every problem is listed with its place.
    """
    if attributes.get("format") != FORMAT:
        msg = f"format must be {FORMAT!r}, got {attributes.get('format')!r}"
        raise FactorFileError(msg)
    if attributes.get("version") != VERSION:
        msg = (
            f"version must be {VERSION}, the one this normalfit reads, "
            f"got {attributes.get('version')!r}; install the normalfit that wrote it, or fit again"
        )
        raise FactorFileError(msg)
    document = {key: value for key, value in attributes.items() if key != "checksum"}
    if attributes.get("checksum") != _checksum(document):
        msg = f"checksum of the attributes must match, got {attributes.get('checksum')!r}"
        raise FactorFileError(msg)
    try:
        return Header.model_validate_json(_canonical(document))
    except pydantic.ValidationError as error:
        raise FactorFileError(_problems(error)) from error


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(document).encode()).hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        msg = f"attributes must be finite JSON values, got {error}"
        raise FactorFileError(msg) from error


def _problems(error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "attributes"
        lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)


def _contradictions(header: Header) -> list[str]:
    axes = len(header.shape)
    problems = [
        f"{name} must have {axes} entries, one per axis of {header.shape}, got {len(value)}"
        for name, value in (("boundary", header.boundary), ("voxel_mm", header.voxel_mm))
        if value is not None and len(value) != axes
    ]
    if "kernel" not in header.arrays:
        return [*problems, f"arrays must hold a kernel, got {sorted(header.arrays)}"]
    if len(header.arrays["kernel"].shape) != axes + 1 or header.terms > _MAX_TERMS:
        got = header.arrays["kernel"].shape
        return [*problems, f"kernel must have the shape (terms, *lags), got {got}"]
    for name, entry in header.arrays.items():
        problems += _array_problems(header, name, entry)
    return problems


def _array_problems(header: Header, name: str, entry: ArrayEntry) -> list[str]:
    problems = []
    field = name.removeprefix("operator/")
    if name not in FACTORS and (field == name or not field.isidentifier()):
        problems.append(f"array name must be kernel, u, v or operator/FIELD, got {name!r}")
    if name in FACTORS and entry.dtype not in FACTOR_DTYPES:
        problems.append(f"{name} must be one of {FACTOR_DTYPES}, got {entry.dtype}")
    if name == "kernel" and entry.dtype != header.dtype:
        problems.append(f"kernel must be {header.dtype} as the attribute says, got {entry.dtype}")
    lags_or_shape = header.lags if name == "kernel" else header.shape
    if name in FACTORS and (
        entry.shape[1:] != lags_or_shape or entry.shape[0] not in (1, header.terms)
    ):
        expected = (header.terms, *lags_or_shape)
        problems.append(f"{name} must have the shape {expected}, got {entry.shape}")
    if entry.chunks != expected_chunks(name, entry.shape):
        expected = expected_chunks(name, entry.shape)
        problems.append(f"chunks of {name} must be {expected}, got {entry.chunks}")
    return problems
