"""Plugins: kinds of operators that other packages bring, by the entry point `normalfit.operators`.

An entry's name is the kind, its value a subclass of `OperatorConfig`, which may have a
`template()` that returns YAML text.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from normalfit.errors import InputError, told
from normalfit.specs.operator_config import OperatorConfig

GROUP = "normalfit.operators"


def plugin_kinds() -> tuple[str, ...]:
    """Return the kinds that installed packages say they bring; none is imported."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def plugin_config(kind: str) -> type[OperatorConfig] | None:
    """Import the class of a kind; None where no package brings it.

    Raises
    ------
    InputError
        Two packages bring it, it cannot be imported, or it is no `OperatorConfig` with this kind.
    """
    found = list(entry_points(group=GROUP, name=kind))
    if not found:
        return None
    if len(found) > 1:
        values = " and ".join(entry.value for entry in found)
        msg = f"kind {kind} must come from one package, got {values}; uninstall one of them"
        raise InputError(msg)
    return _loaded(found[0])


def _loaded(entry: EntryPoint) -> type[OperatorConfig]:
    try:
        config = entry.load()
    except Exception as error:
        msg = f"operator kind {entry.name} must be importable as {entry.value}, got {told(error)}"
        raise InputError(msg) from error
    if not (isinstance(config, type) and issubclass(config, OperatorConfig)):
        msg = f"operator kind {entry.name} must be an OperatorConfig, got {entry.value}"
        raise InputError(msg)
    field = config.model_fields.get("kind")
    allowed = getattr(field.annotation, "__args__", ()) if field is not None else ()
    if entry.name not in allowed:
        msg = (
            f"operator kind {entry.name} must have the key kind: Literal[{entry.name!r}], "
            f"got {entry.value} without"
        )
        raise InputError(msg)
    return config
