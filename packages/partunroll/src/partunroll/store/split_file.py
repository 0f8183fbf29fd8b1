"""read_split: what each sample is for, out of a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from normalfit.specs.yaml_mapping import read_yaml_mapping
from partunroll.errors import InputError
from partunroll.store.data_store_header import Split

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_split(path: Path | str, available: Sequence[str]) -> dict[str, Split]:
    """Return what the named samples are for, in the order of `available`.

    Parameters
    ----------
    path
        A YAML mapping of 'train', 'validation' and 'test' to lists of names. Samples that it
        does not name are left out.
    available
        Names that there are.

    Raises
    ------
    InputError
        It is no such file (normalfit's, if it is no YAML mapping), names a sample twice, one
        that there is not, or none; every problem is listed.
    """
    document = read_yaml_mapping(
        Path(path), "split file", "write lists of names under 'train', 'validation' and 'test'"
    )
    problems = [
        f"key must be one of {', '.join(get_args(Split))}, got {key!r}"
        for key in document
        if key not in get_args(Split)
    ]
    found: dict[str, Split] = {}
    for split in get_args(Split):
        names = document.get(split) or []
        if not isinstance(names, list):
            problems.append(f"{split} must be a list of names, got {names!r}")
            continue
        for name in map(str, names):
            if name not in available:
                known = ", ".join(available)
                problems.append(f"{split} must name one of {known}, got {name}")
            elif name in found:
                problems.append(f"{name} must be named once, got it in {found[name]} and {split}")
            found[name] = split
    if not found and not problems:
        problems.append("at least one sample must be named, got none")
    if problems:
        msg = f"split {path}: {'; '.join(problems)}"
        raise InputError(msg)
    return {name: found[name] for name in available if name in found}
