"""Headers out of bytes and documents: versions, unknown keys, and every problem with its place."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic

from normalfit.errors import (
    CorruptFileError,
    FactorFileError,
    InputError,
    NotAFactorFileError,
    UnsupportedVersionError,
)
from normalfit.factor_file.header import FORMAT, CommonHeader, Header
from normalfit.factor_file.header_consistency import contradictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from normalfit.factor_file.header import Problem

AnyHeader = TypeVar("AnyHeader", bound=CommonHeader)

_MAJOR = "1"
_GROUP_KEYS = {"zarr_format", "node_type", "attributes", "consolidated_metadata"}
_OPTIONAL = "must_understand"  # Zarr 3's own word for what a reader may pass over


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
    problems = contradictions(header)
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
    attributes = _group_attributes(data)
    if attributes.get("format") != FORMAT:
        msg = f"format must be {FORMAT!r}, got {attributes.get('format')!r}"
        raise NotAFactorFileError(msg, [("format", msg.removeprefix("format "))])
    return attributes


def check_plain_group(data: bytes) -> None:
    """Raise CorruptFileError unless the bytes are a group's ``zarr.json`` without attributes."""
    try:
        attributes = _group_attributes(data)
    except CorruptFileError as error:
        raise CorruptFileError(str(error).removeprefix("zarr.json ")) from error
    if attributes:
        msg = f"must have no attributes, got {sorted(attributes)}"
        raise CorruptFileError(msg)


def _group_attributes(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            data, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_each_key_once
        )
    except (ValueError, RecursionError) as error:
        raise _corrupt([("zarr.json", f"must be JSON, got {error}")]) from error
    parts = document if isinstance(document, dict) else {}
    got = parts.get("zarr_format"), parts.get("node_type")
    attributes = parts.get("attributes", {})
    if parts.get("consolidated_metadata") is not None:
        # zarr reads it in place of the arrays' own metadata, which is what is checked here
        raise _corrupt([("zarr.json", "must have no consolidated_metadata, got some")])
    more = {k for k, value in parts.items() if k not in _GROUP_KEYS and not is_optional(value)}
    if more:
        raise _corrupt([("zarr.json", f"must have no other keys than Zarr's, got {sorted(more)}")])
    if got != (3, "group") or not isinstance(attributes, dict):
        raise _corrupt([("zarr.json", f"must be a group of Zarr 3, got {got}")])
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
    known = {
        key: value
        for key, value in attributes.items()
        if key in Header.model_fields or not is_optional(value)
    }
    return checked(Header, json.dumps(known))


def is_optional(value: object) -> bool:
    """Whether a value says that a reader who does not know its key may pass it over."""
    return isinstance(value, dict) and value.get(_OPTIONAL) is False


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated keys, of which one reader takes the first and another one the last."""
    document = dict(pairs)
    if len(document) != len(pairs):
        msg = f"keys must be there once, got {sorted(key for key, _ in pairs)}"
        raise ValueError(msg)
    return document


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _no_constant(text)
    return value


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
