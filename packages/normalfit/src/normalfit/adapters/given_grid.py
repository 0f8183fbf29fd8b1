"""given_grid: the grid that a user gives to an adapter."""

from __future__ import annotations

import operator
from typing import Any

from normalfit.errors import InputError
from normalfit.grid import Grid


def given_grid(name: str, shape: Any) -> Grid:
    """Return a grid as it is, or that of a sequence of numbers of samples.

    Raises
    ------
    InputError
        `shape`, called `name`, is neither, or has an empty axis.
    """
    if isinstance(shape, Grid):
        return shape
    try:
        return Grid(tuple(operator.index(n) for n in shape))
    except TypeError as error:
        msg = f"{name} must be a Grid, or one whole number per axis as (30,), got {shape!r}"
        raise InputError(msg) from error
