"""method_document: a baseline's document out of a name, a file and options of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from normalfit.errors import NormalfitError
from normalfit.specs.yaml_mapping import read_yaml_mapping
from partunroll.baselines.method import KINDS
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OTHER_NAMES = {("cg", "weight"): "ridge"}  # what an option of the command is called in a kind


def method_document(
    name: str, config: Path | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the document of a method: the file's, with the options on top.

    Parameters
    ----------
    name
        The kind.
    config
        YAML file of its options; its ``kind``, if it has one, must be `name`. None: defaults.
    options
        Values by name; those that are None were not given.

    Raises
    ------
    InputError
        The kind is unknown, the file is no mapping or of another kind, or an option is one that
        the kind does not have.
    """
    if name not in KINDS:
        msg = f"baseline must be one of {', '.join(KINDS)}, got {name!r}"
        raise InputError(msg)
    document = {} if config is None else _read(config)
    if document.setdefault("kind", name) != name:
        msg = f"kind in {config} must be {name}, the baseline, got {document['kind']!r}"
        raise InputError(msg)
    for option, value in (options or {}).items():
        if value is None:
            continue
        key = _OTHER_NAMES.get((name, option), option)
        if key not in KINDS[name].model_fields or key == "kind":
            having = [kind for kind, s in KINDS.items() if _has(kind, s.model_fields, option)]
            only = f" and only be given for {', '.join(having)}" if having else ""
            msg = f"{option} must be left out of {name}{only}, got {value}"
            raise InputError(msg)
        document[key] = value
    return document


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return options that are written as ``KEY=VALUE``, the value as in YAML.

    Raises
    ------
    InputError
        A text has no ``=``, a key is given twice, or a value is no YAML.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            msg = f"option must be KEY=VALUE, each key once, got {text!r}"
            raise InputError(msg)
        try:
            found[key] = _numbers(yaml.safe_load(value))
        except yaml.YAMLError as error:
            msg = f"value of option {key} must be written as in YAML, got {value!r}"
            raise InputError(msg) from error
    return found


def parse_candidates(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the values to try, written as ``KEY=VALUE`` or ``KEY=[VALUE, …]``.

    Raises
    ------
    InputError
        As for `parse_options`.
    """
    return {
        key: value if isinstance(value, list) else [value]
        for key, value in parse_options(texts).items()
    }


def _has(kind: str, fields: Mapping[str, Any], option: str) -> bool:
    return option in fields or (kind, option) in _OTHER_NAMES


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml_mapping(path, "config", "write keys and values")
    except NormalfitError as error:
        msg = f"config {path} must be a readable YAML file, got: {error}"
        raise InputError(msg) from error


def _numbers(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return the value with ``1e-3`` as a number, which YAML 1.1 takes for text."""
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
