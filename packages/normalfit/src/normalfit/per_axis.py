"""Values that a command line gives once, or once per axis: ``N`` or ``Z,Y,X``."""

from __future__ import annotations

import re

from normalfit.errors import InputError


def per_axis_counts(name: str, text: str | None) -> int | tuple[int, ...] | None:
    """Return the numbers in a text; None for None.

    Raises
    ------
    InputError
        The text is no list of whole numbers.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(re.fullmatch(r" *[0-9]{1,9} *", part) for part in parts):
        msg = f"{name} must be N, or one number per axis as Z,Y,X, got {text[:40]!r}"
        raise InputError(msg)
    return int(parts[0]) if len(parts) == 1 else tuple(int(part) for part in parts)


def per_axis_names(text: str) -> str | tuple[str, ...]:
    """Return the words in a text: one, or a tuple of one per axis."""
    parts = tuple(part.strip() for part in text.split(","))
    return parts[0] if len(parts) == 1 else parts
