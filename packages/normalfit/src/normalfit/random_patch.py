"""random_patch: a patch at a uniformly drawn place of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.grid import Patch

if TYPE_CHECKING:
    from collections.abc import Sequence


def random_patch(
    shape: Sequence[int], patch_shape: Sequence[int], generator: torch.Generator
) -> Patch:
    """Return a patch of `patch_shape` with every offset equally likely, the last one too.

    Raises
    ------
    InputError
        The patch does not fit the grid.
    """
    fits = len(shape) == len(patch_shape)
    if not fits or not all(1 <= p <= n for p, n in zip(patch_shape, shape, strict=True)):
        msg = f"patch_shape must fit the grid {tuple(shape)}, got {tuple(patch_shape)}"
        raise InputError(msg)
    offset = [
        int(torch.randint(n - p + 1, (), generator=generator))
        for n, p in zip(shape, patch_shape, strict=True)
    ]
    return Patch(tuple(offset), tuple(patch_shape))


def half_grid(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the default patch shape: half of the grid, rounded up."""
    return tuple((n + 1) // 2 for n in shape)
