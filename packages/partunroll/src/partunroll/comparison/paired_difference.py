"""PairedDifference: how far a row is from ours on the same volumes, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUANTILE = 0.975  # both ends of 95 %


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference over volumes.

    Parameters
    ----------
    mean
        Of the differences.
    half_width
        Of the 95 % interval of Student's t; None with fewer than two volumes.
    volumes
        How many.
    """

    mean: float
    half_width: float | None
    volumes: int

    def __str__(self) -> str:
        if self.half_width is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} ± {self.half_width:.2f}"


def paired_difference(
    row: Mapping[str, float], ours: Mapping[str, float]
) -> PairedDifference | None:
    """Return row − ours over the volumes that both have; None where there is none.

    Parameters
    ----------
    row, ours
        A figure by volume, the mean over the seeds. What several seeds would say about a volume
        is no further volume, so they are averaged first, and the interval says how the
        difference varies from volume to volume.
    """
    differences = [row[name] - ours[name] for name in row if name in ours]
    if not differences:
        return None
    n, mean = len(differences), fmean(differences)
    if n < 2 or not all(map(math.isfinite, differences)):
        return PairedDifference(mean, None, n)
    half_width = float(stdtrit(n - 1, _QUANTILE)) * stdev(differences) / math.sqrt(n)
    return PairedDifference(mean, half_width, n)
