"""Templates: a commented YAML file for each kind of operator, small and ready to run."""

from __future__ import annotations

from importlib.resources import files

from normalfit.errors import InputError


def template_kinds() -> tuple[str, ...]:
    """Return the kinds of operators that have a template: all of them."""
    folder = files("normalfit.specs") / "templates"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir()))


def template(kind: str) -> str:
    """Return YAML text that loads, with every key explained.

    Raises
    ------
    InputError
        There is no such kind.
    """
    if kind not in template_kinds():
        msg = f"kind must be one of {', '.join(template_kinds())}, got {kind!r}"
        raise InputError(msg)
    file = files("normalfit.specs") / "templates" / f"{kind}.yaml"
    return file.read_text(encoding="utf-8")
