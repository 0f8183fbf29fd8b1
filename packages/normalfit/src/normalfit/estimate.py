"""Estimate: a relative error with its confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from normalfit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure measured on random probes, with its 95 % interval.

    Parameters
    ----------
    value
        The estimate.
    low, high
        Ends of the interval.
    probes
        Independent probes behind it.
    """

    value: float
    low: float
    high: float
    probes: int

    def __str__(self) -> str:
        half = 0.5 * (self.high - self.low)
        return f"{self.value:.4g} ± {half:.2g} (95 %, {self.probes} probes)"

    def as_json(self) -> dict[str, Any]:
        """Return the four numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high, "probes": self.probes}


def relative_error(errors: Sequence[float], energies: Sequence[float]) -> Estimate:
    """Return ``√(Σ errors / Σ energies)`` with an interval for the ratio of the expectations.

    The variance of the ratio is that of its linearisation (delta method), the quantile is
    Student's with one degree of freedom less than there are probes.

    Parameters
    ----------
    errors
        ``|N w - B w|²``, one per probe; the probes are independent.
    energies
        ``|N w|²`` of the same probes.

    Raises
    ------
    InputError
        There are fewer than two probes, or ``N`` is zero on all of them.
    """
    e, s = np.asarray(errors, dtype=float), np.asarray(energies, dtype=float)
    count = len(e)
    if count < 2:
        msg = f"probes must be at least 2 for an interval, got {count}"
        raise InputError(msg)
    if not s.sum() > 0:
        msg = f"normal operator must not be zero, got |N w| = 0 for {count} probes"
        raise InputError(msg)
    ratio = e.mean() / s.mean()
    deviation = (e - ratio * s) / s.mean()
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * math.sqrt(
        float(deviation.var(ddof=1)) / count
    )
    value = math.sqrt(ratio)
    # the square root of the interval's ends, not of its half-width: it never crosses zero
    return Estimate(value, math.sqrt(max(ratio - half, 0.0)), math.sqrt(ratio + half), count)
