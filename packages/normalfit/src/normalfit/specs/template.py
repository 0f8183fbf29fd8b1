"""Templates: a commented YAML file for each kind of operator, small and ready to run."""

from __future__ import annotations

from importlib.resources import files

from normalfit.errors import InputError
from normalfit.specs.plugins import plugin_config, plugin_kinds


def template_kinds() -> tuple[str, ...]:
    """Return the kinds of operators that have a template here: all of normalfit's own."""
    folder = files("normalfit.specs") / "templates"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir()))


def template(kind: str) -> str:
    """Return YAML text that loads, with every key explained.

    Raises
    ------
    InputError
        There is no such kind, or the package that brings it has no template for it.
    """
    if kind not in template_kinds():
        return _brought(kind)
    file = files("normalfit.specs") / "templates" / f"{kind}.yaml"
    return file.read_text(encoding="utf-8")


def _brought(kind: str) -> str:
    """Return the template of a kind of another package."""
    config = plugin_config(kind)
    if config is None:
        msg = f"kind must be one of {', '.join((*template_kinds(), *plugin_kinds()))}, got {kind!r}"
        raise InputError(msg)
    make = getattr(config, "template", None)
    if make is None:
        msg = f"kind must have a template, got {kind!r} without; see its package's documentation"
        raise InputError(msg)
    return str(make())
