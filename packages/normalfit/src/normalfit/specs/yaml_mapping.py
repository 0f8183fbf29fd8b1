"""Reading a YAML file that must be one mapping, with line numbers in every complaint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from normalfit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


TEMPLATE_REMEDY = "write one with `normalfit template KIND > op.yaml`"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses duplicate keys and reads ``1e-3`` as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node)
            if key in seen:
                problem = f"key {key!r} must be given once, stands on line {seen[key]} too"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, wants a point and a signed exponent; YAML 1.2 and people do not
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml_mapping(
    path: Path, what: str = "operator file", remedy: str = TEMPLATE_REMEDY
) -> dict[Any, Any]:
    """Return the mapping in a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, for messages.
    remedy
        What to do where there is none, for messages.

    Raises
    ------
    InputError
        The file is missing, is not text or not YAML, repeats a key, or is no mapping.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506 - safe
    except FileNotFoundError:
        msg = f"{what} must exist, got {path}; {remedy}"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{what} must be readable text, got {path} ({error})"
        raise InputError(msg) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: month 13 of a date
        msg = f"{path}: {_explained(error)}"
        raise InputError(msg) from error
    if not isinstance(document, dict):
        got = "an empty file" if document is None else f"a {type(document).__name__}"
        msg = f"{path}: {what} must be a mapping of keys to values, got {got}"
        raise InputError(msg)
    return document


def _explained(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"line {mark.line + 1}: {problem}" if mark else problem
