"""describe_problems: what is wrong with a configuration, in one line that says how to mend it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

from partunroll.configuration.network_config import NetworkConfig
from partunroll.configuration.schedule_config import ScheduleConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel, ValidationError

_UNION = ("constrained-int", "bool", "int", "tuple[constrained-int, ...]")  # of numbers and lists
_LONGEST = 80  # letters of a value
_SECTIONS = ("network", "schedule")  # chosen by their kind
_KINDS = {
    section.model_fields["kind"].default
    for union in (NetworkConfig, ScheduleConfig)
    for section in get_args(get_args(union)[0])
}


def describe_problems(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return every problem of a validation: key, requirement, value, and what may be meant.

    Parameters
    ----------
    error
        Of pydantic.
    model
        What was validated, to say which keys there are.
    """
    found: dict[str, str] = {}
    for problem in error.errors():
        place, what = _place(problem["loc"]), _requirement(problem)
        if problem["type"] == "extra_forbidden":
            what = f"{what}; {_meant(problem['loc'], model)}"
        found[place] = f"{found[place]}, or {what}" if place in found else what
    return "; ".join(f"{place or 'config'}: {what}" for place, what in found.items())


def _place(loc: Sequence[str | int]) -> str:
    """Return the keys that lead to a value, without pydantic's marks of kinds and unions."""
    tag = 1 if loc[:1] in {(name,) for name in _SECTIONS} else 0  # 0: a network by itself
    marks = {tag} if len(loc) > 1 and loc[tag] in _KINDS else set()
    parts = [str(p) for n, p in enumerate(loc) if n not in marks and p not in _UNION]
    return ".".join(parts)


def _requirement(problem: Any) -> str:  # noqa: ANN401 - one of pydantic's typed dictionaries
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if problem["type"] == "extra_forbidden":
        message = "There is no such key"
    if problem["type"] == "value_error" and ", got " in message:
        return message  # it names the value
    shown = repr(problem["input"])
    return f"{message} (got {shown if len(shown) <= _LONGEST else f'{shown[:_LONGEST]}...'})"


def _meant(loc: Sequence[str | int], model: type[BaseModel] | None) -> str:
    """Return the key that is most like an unknown one, or all that there are."""
    known = [] if model is None else _keys(loc[:-1], model)
    close = difflib.get_close_matches(str(loc[-1]), known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(known)}" if known else "see docs/training.md"


def _keys(loc: Sequence[str | int], model: Any) -> list[str]:  # noqa: ANN401 - a model or a type
    """Return the keys of the section that `loc` leads to."""
    sections = [model]
    for part in loc:
        fields = [s.model_fields[part] for s in sections if part in getattr(s, "model_fields", ())]
        if fields:
            sections = [kind for field in fields for kind in _models(field.annotation)]
        else:  # the kind of one of several
            chosen = [s for s in sections if _kind(s) == part]
            sections = chosen or sections
    return sorted({key for s in sections for key in getattr(s, "model_fields", ())})


def _kind(section: type[BaseModel]) -> object:
    field = section.model_fields.get("kind")
    return None if field is None else field.default


def _models(annotation: Any) -> list[Any]:  # noqa: ANN401 - a type or a union
    parts = getattr(annotation, "__args__", None) or (annotation,)
    return [part for part in parts if hasattr(part, "model_fields")]
