"""The header of a factor file: its attributes as a checked document (docs/factor-file.md)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import ConfigDict, Field, JsonValue

from normalfit.errors import (
    CorruptFileError,
    FactorFileError,
    InputError,
    NotAFactorFileError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = "normalfit-factors"
VERSION = "1.0"
CHUNK_SIDE = 64  # 1 MB of float32 in 3-D: a 64³ patch touches at most 8 of them
FACTORS = ("kernel", "u", "v")
FACTOR_DTYPES = ("float32", "float64", "complex64", "complex128")

_MAJOR = "1"
_MAX_AXES = 8
_MAX_TERMS = 4096
_OPTIONAL = "must_understand"  # Zarr 3's own word for what a reader may pass over

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
    hermitian: bool
    check: CheckEntry


AnyHeader = TypeVar("AnyHeader", bound=CommonHeader)


def expected_chunks(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk shape of an array: sides of at most 64, and of 1 along the terms."""
    chunks = tuple(min(CHUNK_SIDE, n) for n in shape)
    return (1, *chunks[1:]) if name in FACTORS else chunks


def make_header(document: Mapping[str, Any]) -> Header:
    """Return the header that a writer means, checked as a reader will check it.

    Raises
    ------
    InputError
        The document is not a header's; every problem is listed with its place.
    """
    try:
        text = json.dumps(document, allow_nan=False)
        return checked(Header, text)
    except FactorFileError as error:
        raise InputError(str(error)) from error
    except (TypeError, ValueError) as error:
        msg = f"metadata must be finite JSON values, got {error}"
        raise InputError(msg) from error


def checked(model: type[AnyHeader], text: str) -> AnyHeader:
    """Return the header of a JSON text, checked by itself and against itself.

    Raises
    ------
    CorruptFileError
        Every problem is listed with its place.
    """
    try:
        header = model.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise _corrupt(_found_by_pydantic(error)) from error
    problems = _contradictions(header)
    if problems:
        raise _corrupt(problems)
    return header


def attributes_of(data: bytes) -> dict[str, Any]:
    """Return the attributes of a factor file's root group, whatever its version.

    Raises
    ------
    CorruptFileError
        The bytes are not the ``zarr.json`` of a group of Zarr 3.
    NotAFactorFileError
        They are, of another group.
    """
    try:
        document = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _corrupt([("zarr.json", f"must be JSON, got {error}")]) from error
    parts = document if isinstance(document, dict) else {}
    got = parts.get("zarr_format"), parts.get("node_type")
    attributes = parts.get("attributes", {})
    if got != (3, "group") or not isinstance(attributes, dict):
        raise _corrupt([("zarr.json", f"must be a group of Zarr 3, got {got}")])
    if attributes.get("format") != FORMAT:
        msg = f"format must be {FORMAT!r}, got {attributes.get('format')!r}"
        raise NotAFactorFileError(msg, [("format", msg.removeprefix("format "))])
    return attributes


def parse_header(attributes: Mapping[str, Any]) -> Header:
    """Return the header of version 1 that the attributes of a root group hold.

    Unknown keys are passed over where their value says ``"must_understand": false``.

    Raises
    ------
    UnsupportedVersionError
        They are of another major version.
    CorruptFileError
        They are damaged or contradict each other; every problem is listed with its place.
    """
    version = attributes.get("version")
    if not isinstance(version, str) or not re.fullmatch(rf"{_MAJOR}\.\d+", version):
        msg = (
            f"version must be 0.1 or {_MAJOR}.x, which this normalfit reads, got {version!r}; "
            "install the normalfit that wrote it, or a newer one"
        )
        raise UnsupportedVersionError(msg, [("version", msg.removeprefix("version "))])
    known = {key: value for key, value in attributes.items() if not _optional(key, value)}
    return checked(Header, json.dumps(known))


def _optional(key: str, value: object) -> bool:
    unknown = key not in Header.model_fields
    return unknown and isinstance(value, dict) and value.get(_OPTIONAL) is False


def _no_constant(name: str) -> None:
    msg = f"numbers must be finite, got {name}"
    raise ValueError(msg)


def _corrupt(problems: Iterable[Problem]) -> CorruptFileError:
    listed = list(problems)
    lines = (f"{at} {text}" if text.startswith("must ") else f"{at}: {text}" for at, text in listed)
    return CorruptFileError("; ".join(lines), listed)


def _found_by_pydantic(error: pydantic.ValidationError) -> list[Problem]:
    return [
        (".".join(str(part) for part in problem["loc"]) or "attributes", problem["msg"])
        for problem in error.errors()
    ]


def _contradictions(header: CommonHeader) -> list[Problem]:
    axes = len(header.shape)
    lengths = {"boundary": header.boundary, "voxel_mm": header.voxel_mm}
    if header.check is not None:
        lengths |= {"check.offset": header.check.offset, "check.shape": header.check.shape}
    problems = [
        (name, f"must have {axes} entries, one per axis of {header.shape}, got {len(value)}")
        for name, value in lengths.items()
        if value is not None and len(value) != axes
    ]
    if "kernel" not in header.arrays:
        return [*problems, ("arrays", f"must hold a kernel, got {sorted(header.arrays)}")]
    got = header.arrays["kernel"].shape
    if len(got) != axes + 1 or header.terms > _MAX_TERMS:
        wanted = f"must have the shape (terms, *lags), at most {_MAX_TERMS} terms, got {got}"
        return [*problems, ("arrays.kernel", wanted)]
    if problems:
        return problems
    for name, entry in header.arrays.items():
        problems += _array_problems(header, name, entry)
    return [*problems, *_lag_problems(header), *_check_problems(header)]


def _array_problems(header: CommonHeader, name: str, entry: ArrayEntry) -> list[Problem]:
    problems = []
    known = name in FACTORS or name in _check_arrays(header)
    field = name.removeprefix("operator/")
    if not known and (field == name or not field.isidentifier()):
        problems.append(f"name must be kernel, u, v or operator/FIELD, got {name!r}")
    if name in FACTORS and entry.dtype not in FACTOR_DTYPES:
        problems.append(f"dtype must be one of {FACTOR_DTYPES}, got {entry.dtype}")
    if name == "kernel" and entry.dtype != header.dtype:
        problems.append(f"must be {header.dtype} as the attribute says, got {entry.dtype}")
    lags_or_shape = header.lags if name == "kernel" else header.shape
    if name in FACTORS and (
        entry.shape[1:] != lags_or_shape or entry.shape[0] not in (1, header.terms)
    ):
        expected = (header.terms, *lags_or_shape)
        problems.append(f"must have the shape {expected}, got {entry.shape}")
    if entry.chunks != expected_chunks(name, entry.shape):
        expected = expected_chunks(name, entry.shape)
        problems.append(f"chunks must be {expected}, got {entry.chunks}")
    return [(f"arrays.{name}", problem) for problem in problems]


def _lag_problems(header: CommonHeader) -> list[Problem]:
    problems = []
    for axis, (n, length, end) in enumerate(
        zip(header.shape, header.lags, header.boundary, strict=True)
    ):
        longest = n if end == "periodic" else 2 * n - 1
        whole = end == "periodic" and length == n
        if not whole and (length % 2 == 0 or length > longest):
            wanted = f"must be odd and at most {longest} on the {end} axis {axis}, got {length}"
            problems.append(("arrays.kernel", f"lags {wanted}"))
    return problems


def _check_arrays(header: CommonHeader) -> dict[str, str]:
    """Return the dtypes of the arrays that the header's check needs."""
    if header.check is None:
        return {}
    is_complex = any(
        entry.dtype.startswith("complex")
        for name, entry in header.arrays.items()
        if name in FACTORS
    )
    dtype = "complex128" if is_complex else "float64"
    return {"check/probe": dtype, "check/response": dtype}


def _check_problems(header: CommonHeader) -> list[Problem]:
    if header.check is None:
        return []
    problems = []
    check = header.check
    for o, p, n in zip(check.offset, check.shape, header.shape, strict=True):
        if o + p > n:
            got = f"offset {check.offset} and shape {check.shape}"
            return [("check", f"must lie inside the grid {header.shape}, got {got}")]
    for name, dtype in _check_arrays(header).items():
        entry = header.arrays.get(name)
        if entry is None:
            problems.append((f"arrays.{name}", "must be there, got none"))
        elif (entry.shape, entry.dtype) != (check.shape, dtype):
            wanted = f"must be {dtype} {check.shape}, got {entry.dtype} {entry.shape}"
            problems.append((f"arrays.{name}", wanted))
    return problems
