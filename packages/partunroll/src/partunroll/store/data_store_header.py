"""The header of a data store: its attributes as a checked document.  SampleInfo."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field, JsonValue, SerializerFunctionWrapHandler

from partunroll.errors import DataStoreError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMAT = "partunroll-data"
VERSION = "0.2"  # 0.1 had no digests, and is read
VOLUME_CHUNK = 32  # 128 KB of float32: a patch of 64³ meets at most 27, one of 32³ at most 8
IMAGE_CHUNK = 256
SAMPLE_ARRAYS = (
    "reference",
    "measurements",
    "initial_estimate",
    "backprojection",
    "residual_backprojection",
)

_Count = Annotated[int, Field(ge=1, lt=2**31)]
_Shape = Annotated[tuple[_Count, ...], Field(min_length=1, max_length=8)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
_CIRCUMSTANCES = {"created", "command", "versions"}
_NAMES = pydantic.TypeAdapter[str](_Name)
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Split = Literal["train", "validation", "test"]


class _Document(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArrayEntry(_Document):
    """Shape, dtype and chunk shape of one array of the store, and since 0.2 its SHA-256.

    The digest is that of the values in C order, little endian: of ``values.tobytes()``.
    """

    shape: _Shape
    dtype: str
    chunks: _Shape
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @pydantic.model_serializer(mode="wrap")
    def _without_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        """Leave out a digest that is not there: headers of 0.1 keep their checksums."""
        return {k: v for k, v in dump(self).items() if k != "sha256" or v is not None}

    @property
    def layout(self) -> ArrayEntry:
        """The entry without its digest."""
        return self.model_copy(update={"sha256": None})


class SampleInfo(_Document):
    """What a store says about one sample.

    Attributes
    ----------
    id
        Name of the sample, unique in the store.
    operator
        Name of the operator that measured it.
    split
        What it is for: 'train', 'validation' or 'test'.
    source
        The file it was made from, or ``made:SEED:INDEX``.
    inverse_crime
        Whether it was simulated with the reconstruction's own grid; None if it was measured.
    intensity_per_mm
        Attenuation in 1/mm that a value of one stands for; None if it stands for none.
    noise
        The noise that was added; None if it was measured.
    initial_method
        How the initial estimate was made: 'fdk', 'fbp' or 'least-squares'.
    initial_window
        Window of its ramp filter; None for least squares.
    relative_residual
        ``‖y − A x*‖ / ‖y‖``; None without a reference.
    """

    id: _Name
    operator: _Name
    split: Split
    source: str
    inverse_crime: bool | None = None
    intensity_per_mm: _Positive | None = None
    noise: dict[str, JsonValue] | None = None
    initial_method: str = "least-squares"
    initial_window: str | None = None
    relative_residual: float | None = None


class SampleEntry(_Document):
    """A sample with its arrays."""

    info: SampleInfo
    arrays: dict[Literal[SAMPLE_ARRAYS], ArrayEntry]  # type: ignore[valid-type] # the tuple above


class OperatorEntry(_Document):
    """An operator's document, and the arrays that belong to it."""

    document: dict[str, JsonValue]
    fingerprint: str
    arrays: dict[_Name, ArrayEntry]


class Header(_Document):
    """The attributes of a data store, version 0.2 or 0.1."""

    format: Literal["partunroll-data"] = "partunroll-data"
    version: Literal["0.1", "0.2"] = "0.2"
    operators: dict[_Name, OperatorEntry]
    samples: Annotated[tuple[SampleEntry, ...], Field(min_length=1)]
    made: dict[str, JsonValue]

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Header:
        ids = [sample.info.id for sample in self.samples]
        unknown = {s.info.operator for s in self.samples} - set(self.operators)
        if len(set(ids)) != len(ids) or unknown:
            msg = f"samples must have unique ids and known operators, got {ids}, {sorted(unknown)}"
            raise ValueError(msg)
        return self


def chunks_of(shape: tuple[int, ...], *, by_view: bool) -> tuple[int, ...]:
    """Return the chunk shape of an array: one view of measurements, else cubes or squares.

    Axes before the last three (coils) have chunks of one.
    """
    if by_view and len(shape) > 2:
        return (1,) * (len(shape) - 2) + shape[-2:]
    side = VOLUME_CHUNK if len(shape) > 2 else IMAGE_CHUNK
    return (1,) * (len(shape) - 3) + tuple(min(side, n) for n in shape[-3:])


def check_name(what: str, name: str) -> None:
    """Raise InputError for a name that a data store cannot have."""
    try:
        _NAMES.validate_python(name)
    except pydantic.ValidationError as error:
        msg = (
            f"name of the {what} must begin with a letter or a digit and go on with these, "
            f"'.', '_' and '-', got {name!r}"
        )
        raise InputError(msg) from error


def make_header(
    operators: Mapping[str, OperatorEntry],
    samples: Iterable[SampleEntry],
    made: Mapping[str, Any],
) -> Header:
    """Return the header that a writer means, checked as a reader will check it.

    Raises
    ------
    InputError
        The parts are not JSON, contradict each other, or there is no sample.
    """
    document = {
        "operators": {name: entry.model_dump(mode="json") for name, entry in operators.items()},
        "samples": [entry.model_dump(mode="json") for entry in samples],
        "made": dict(made),
    }
    try:
        return Header.model_validate_json(_canonical(document))
    except ValueError as error:
        msg = f"data store must have a valid header, got {_problems(error)}"
        raise InputError(msg) from error


def content_digest(header: Header) -> str:
    """Return a hash of the header without the time, the command and the versions."""
    document = header.model_dump(mode="json")
    document["made"] = {k: v for k, v in header.made.items() if k not in _CIRCUMSTANCES}
    return _checksum(document)


def to_attributes(header: Header) -> dict[str, Any]:
    """Return the header as the attributes of the root group, with their checksum."""
    attributes = header.model_dump(mode="json")
    return {**attributes, "checksum": _checksum(attributes)}


def parse_header(attributes: Mapping[str, Any]) -> Header:
    """Return the header that the attributes of a root group hold.

    Raises
    ------
    DataStoreError
        They are no data store's, of another version, damaged, or contradict each other.
    """
    if attributes.get("format") != FORMAT:
        msg = f"format must be {FORMAT!r}, got {attributes.get('format')!r}"
        raise DataStoreError(msg)
    if attributes.get("version") not in ("0.1", VERSION):
        msg = (
            f"version must be 0.1, or {VERSION}, those that this partunroll reads, "
            f"got {attributes.get('version')!r}; make the store again"
        )
        raise DataStoreError(msg)
    document = {key: value for key, value in attributes.items() if key != "checksum"}
    try:
        if attributes.get("checksum") != _checksum(document):
            msg = f"checksum of the header must match, got {attributes.get('checksum')!r}"
            raise DataStoreError(msg)
        return Header.model_validate_json(_canonical(document))
    except ValueError as error:
        raise DataStoreError(_problems(error)) from error


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(document).encode()).hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _problems(error: ValueError) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return str(error)
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "header"
        lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
