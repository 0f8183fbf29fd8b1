"""Windows: smooth images over a coarse lattice that sum to one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def axis_windows(samples: int, count: int) -> torch.Tensor:
    """Return `count` windows over one axis, float64 ``(count, samples)``; they sum to one.

    ``cos²`` from each middle to those of its neighbours. The middles are spread evenly, the
    outermost half a distance inside the ends, where their windows stay one.
    """
    position = (torch.arange(samples, dtype=torch.float64) + 0.5) * count / samples - 0.5
    position = position.clamp(0, count - 1)
    distance = (position - torch.arange(count, dtype=torch.float64)[:, None]).abs()
    # not the square of a cosine, which would leave 1e-33 where a restriction looks for zeros
    return (1 + torch.cos(math.pi * distance.clamp_max(1))) / 2


def lattice_windows(shape: Sequence[int], counts: Sequence[int]) -> torch.Tensor:
    """Return the products of the axes' windows, float64 ``(product of counts, *shape)``."""
    windows = torch.ones(1, dtype=torch.float64)
    for samples, count in zip(shape, counts, strict=True):
        axis = axis_windows(samples, count)
        before = windows[:, None, ..., None]
        windows = (before * axis.reshape(1, count, *[1] * (before.ndim - 3), samples)).flatten(0, 1)
    return windows
