"""Hermitian symmetry of stored kernels, without reading one as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normalfit.factor_file.arrays import CheckedArray

HERMITIAN = 1e-6  # deviation of kernels that are; single precision leaves less of a tied fit
_SLAB = 32  # planes; half a chunk, so that two slabs of 1023² lags take 270 MB in float32


def hermitian_deviation(array: CheckedArray) -> float:
    """Return ``max |h(τ) - conj h(-τ)| / max |h|`` of the worst kernel ``(terms, *lags)``."""
    terms, *lags = array.shape
    worst = 0.0
    for term in range(terms):
        difference, largest = 0.0, 0.0
        for planes in _slabs(lags[0]):
            h = _planes(array, term, planes)
            mirrored = _mirrored(_planes(array, term, _opposite(planes, lags[0])), lags)
            difference = max(difference, float(np.abs(h - mirrored).max()))
            largest = max(largest, float(np.abs(h).max()))
        worst = max(worst, difference / largest if largest else difference)
    return worst


def _slabs(length: int) -> Iterator[slice]:
    """Yield slabs of the first axis; on an even one, lag -L/2 is its own opposite."""
    first = 1 - length % 2
    if first:
        yield slice(0, 1)
    for start in range(first, length, _SLAB):
        yield slice(start, min(start + _SLAB, length))


def _opposite(planes: slice, length: int) -> slice:
    """Return the planes of the opposite lags: of index i, index ``2 (L // 2) - i`` mod L."""
    if planes.start == 0 and length % 2 == 0:
        return planes
    last = 2 * (length // 2)
    return slice(last - planes.stop + 1, last - planes.start + 1)


def _planes(array: CheckedArray, term: int, planes: slice) -> np.ndarray:
    rest = (slice(0, n) for n in array.shape[2:])
    return array.read((slice(term, term + 1), planes, *rest))[0]


def _mirrored(slab: np.ndarray, lags: list[int]) -> np.ndarray:
    """Return ``conj h(-τ)`` of a slab of opposite planes."""
    flipped = np.flip(slab.conj())
    even = [axis for axis in range(1, slab.ndim) if lags[axis] % 2 == 0]
    return np.roll(flipped, [1] * len(even), even) if even else flipped
