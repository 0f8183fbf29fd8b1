"""choose_objects and choose_validation: what a command line says to simulate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from partunroll.errors import InputError
from partunroll.objects.object_sources import MadeObjects

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose_objects(
    volumes: Sequence[str],
    made_count: int | None,
    made_seed: int = 0,
    made_smallest: float = 0.0,
) -> Sequence[str] | MadeObjects:
    """Return files of volumes, or made objects where a number of them is given.

    The arguments of the made objects are those of `MadeObjects`.

    Raises
    ------
    InputError
        Both are given, or neither.
    """
    if bool(volumes) == (made_count is not None):
        given = f"{len(volumes)} volumes and {made_count or 0} made objects"
        msg = f"objects must be volumes or made objects, one of the two, got {given}"
        raise InputError(msg)
    return volumes if made_count is None else MadeObjects(made_count, made_seed, made_smallest)


def choose_validation(count: int, volumes: Sequence[str]) -> int | Sequence[str]:
    """Return what is for validation: the last `count` of the objects, or more volumes.

    Raises
    ------
    InputError
        Both are given.
    """
    if count and volumes:
        msg = (
            "validation must be a number of the objects or more volumes, "
            f"got {count} and {', '.join(volumes)}"
        )
        raise InputError(msg)
    return volumes or count
