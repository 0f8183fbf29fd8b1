"""Problem: one thing wrong with a spec, and where; pydantic's list of errors in our words."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from normalfit.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_REQUIREMENTS = {
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "missing": "must be given",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "invalid_key": "must be text",
}
_REPEATED = int | float | str
_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 80


@dataclass(frozen=True)
class Problem:
    """What is wrong with the value of a key.

    Parameters
    ----------
    key
        The key, with the index or name inside its value behind dots.
    text
        ``must <requirement>, got <value>``.
    """

    key: str
    text: str


def problem(key: str, requirement: str, value: object) -> Problem:
    """Return the problem that `value` does not meet `requirement`; None counts as nothing."""
    return Problem(key, f"{requirement}, got {_shown(value)}")


def problems_of(
    error: ValidationError, document: Mapping[str, Any], known_keys: Collection[str]
) -> list[Problem]:
    """Return every problem that pydantic found in a document."""
    found = [_translated(d, document, known_keys) for d in error.errors(include_url=False)]
    return list(dict.fromkeys(found))


def refuse(place: str, problems: Iterable[Problem]) -> NoReturn:
    """Raise one InputError that lists every problem with its place."""
    raise InputError("; ".join(f"{place}: {p.key}: {p.text}" for p in problems))


def _shown(value: object) -> str:
    try:
        return "nothing" if value is None else " ".join(_shortened.repr(value).split())
    except ValueError:  # Python prints no whole number of more than 4300 digits
        return "a number of thousands of digits"


def _translated(
    details: ErrorDetails, document: Mapping[str, Any], known_keys: Collection[str]
) -> Problem:
    place = details["loc"]
    if isinstance(document.get(str(place[0])), _REPEATED):
        place = place[:1]  # one value, repeated for every axis
    key = ".".join(str(part) for part in place)
    value = None if details["type"] == "missing" else details["input"]
    return problem(key, _requirement(details, key, known_keys), value)


def _requirement(details: ErrorDetails, key: str, known_keys: Collection[str]) -> str:
    if details["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(key, known_keys, n=1)
        return f"must be a known key, perhaps {similar[0]}" if similar else "must be a known key"
    if details["type"] in _REQUIREMENTS:
        return _REQUIREMENTS[details["type"]].format(**details.get("ctx", {}))
    message = details["msg"].removeprefix("Value error, ")
    return message.replace("Input should be", "must be")
