"""user_code: what a user's own function raises becomes an InputError that says so."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError, NormalfitError, told

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def user_code(requirement: str, remedy: str = "") -> Iterator[None]:
    """Turn what is raised inside into ``requirement, got ERROR; remedy``.

    Our own errors, and memory that is used up, pass as they are.

    Raises
    ------
    InputError
        Anything else was raised.
    """
    try:
        yield
    except (NormalfitError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        msg = f"{requirement}, got {told(error)}"
        raise InputError(f"{msg}; {remedy}" if remedy else msg) from error
