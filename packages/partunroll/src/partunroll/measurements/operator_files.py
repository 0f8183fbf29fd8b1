"""load_operators: operator specs by name, out of their YAML files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.specs import load_spec
from partunroll.errors import InputError
from partunroll.objects.object_sources import safe_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from normalfit.specs import OperatorSpec


def load_operators(paths: Sequence[Path]) -> dict[str, OperatorSpec]:
    """Return the operators of YAML files, named after the files.

    Raises
    ------
    InputError
        A file is no operator's (normalfit's), or two files have one name.
    """
    operators: dict[str, OperatorSpec] = {}
    for path in paths:
        name = safe_name(path)
        if name in operators:
            msg = f"operator files must have different names, got {name} twice; rename one"
            raise InputError(msg)
        operators[name] = load_spec(path)
    return operators
