"""streamed_percentile: a high percentile of values that are never all in memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


def streamed_percentile(parts: Iterable[np.ndarray], count: int, percent: float) -> float:
    """Return what `np.percentile` gives of all parts together, up to rounding.

    Only the values from the percentile on are kept, so memory is that part of them, and twice
    the largest part.

    Parameters
    ----------
    parts
        Real values, of any shapes.
    count
        How many they are together, at least one.
    percent
        In 0 … 100; a high one needs little memory.
    """
    place = (count - 1) * percent / 100
    kept = count - math.floor(place)
    top: np.ndarray = np.empty(0)
    for part in parts:
        candidates = part.ravel()
        if len(top) == kept:
            candidates = candidates[candidates > top.min()]
        top = np.concatenate([top.astype(part.dtype), candidates])
        if len(top) > kept:
            top = np.partition(top, len(top) - kept)[-kept:].copy()
    ordered = np.sort(top.astype(np.float64))
    low, high = ordered[0], ordered[min(1, kept - 1)]
    return float(low + (high - low) * (place - math.floor(place)))
