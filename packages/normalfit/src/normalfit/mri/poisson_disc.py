"""poisson_disc: variable-density samples that keep a distance from each other, on a grid.

Dart throwing: the points of the grid are visited in a random order, and one is kept if none that
was kept before lies within its radius. The radius grows from the centre outwards. sigpy's
generator would have served, but it raised on grids of 96 × 80 and never came back from 24² at
R = 10 (0.1.27), and its stream is not kept between versions.
"""

from __future__ import annotations

import numba
import numpy as np

_DENSITY = 2.0  # radius at the corners over that at the centre, less one; our choice
_BISECTIONS = 24


def poisson_disc(
    shape: tuple[int, int], count: int, fixed: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Return `count` samples of a grid, bool ``(*shape)``, the fixed ones among them.

    Parameters
    ----------
    shape
        Points per axis.
    count
        Samples that are wanted, at least as many as are fixed.
    fixed
        Samples that are kept in any case, bool ``(*shape)``; they keep no others away.
    order
        Permutation of all points, flat in C order: what is random about the result.
    """
    distance = [np.abs((np.arange(n) - n // 2) / max(n / 2, 1)) for n in shape]
    growth = 1 + _DENSITY * np.hypot(distance[0][:, None], distance[1][None, :])
    low, high = 0.0, 2 * float(np.sqrt(fixed.size / max(count, 1)))
    kept = np.ones(shape, dtype=bool)
    for _ in range(_BISECTIONS):
        radius = (low + high) / 2
        tried = _throw(shape, radius * growth, fixed, order)
        if tried.sum() >= count:
            low, kept = radius, tried
        else:
            high = radius
    surplus = order[(kept & ~fixed).ravel()[order]][max(count - int(fixed.sum()), 0) :]
    kept.ravel()[surplus] = False
    return kept


@numba.njit(cache=True)
def _throw(
    shape: tuple[int, int], radius: np.ndarray, fixed: np.ndarray, order: np.ndarray
) -> np.ndarray:
    kept = np.zeros(shape, dtype=np.bool_)
    rows, columns = shape
    for place in order:
        i, j = place // columns, place % columns
        if fixed[i, j]:
            continue
        reach = radius[i, j]
        whole = int(np.floor(reach))
        free = True
        for a in range(max(i - whole, 0), min(i + whole + 1, rows)):
            for b in range(max(j - whole, 0), min(j + whole + 1, columns)):
                if kept[a, b] and (a - i) ** 2 + (b - j) ** 2 <= reach**2:
                    free = False
                    break
            if not free:
                break
        kept[i, j] = free
    return kept | fixed
