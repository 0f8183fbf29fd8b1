"""Estimate: a figure with its uncertainty, and the ratio estimate that errors are."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from normalfit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Estimate:
    """A figure measured on random probes.

    Parameters
    ----------
    value
        The estimate.
    low, high
        Ends of its 95 % confidence interval.
    probes
        Number of probes behind it.
    """

    value: float
    low: float
    high: float
    probes: int

    def __str__(self) -> str:
        half_width = (self.high - self.low) / 2
        if not 0 < half_width < math.inf:
            return f"{self.value:.3g} (95 %, {self.probes} probes)"
        if half_width > self.value / 2:  # such an interval is not even about its value
            ends = f"{self.low:.2g} … {self.high:.2g}"
            return f"{self.value:.2g} ({ends}, 95 %, {self.probes} probes)"
        # as many decimals as show one digit of the uncertainty, two of a leading 1
        decimals = max(0, 1 - math.floor(math.log10(half_width * 5)))
        figures = f"{self.value:.{decimals}f} ± {half_width:.{decimals}f}"
        return f"{figures} (95 %, {self.probes} probes)"

    def as_json(self) -> dict[str, float | int]:
        """Return the fields as JSON values."""
        return asdict(self)


def relative_error_estimate(errors: Sequence[float], references: Sequence[float]) -> Estimate:
    """Return ``sqrt(E errors / E references)`` from independent pairs, with its interval.

    The delta method on the logarithm of the ratio, with two corrections for few probes: every
    residual is divided by what its own pull on the ratio left of it (HC3), and Student's t has
    the degrees of freedom that such a variance has (Bell and McCaffrey 2002, for variances
    proportional to the references).

    Measured coverage of the 95 % interval, errors of the best factors of cone beam 5³ and 6³
    and of parallel beam 8², 800 repeats each: 93-97 % with 16 and with 32 probes, where the
    delta method alone reaches 91-95 %. An error that lies in one direction of the domain alone
    is the worst case: 92 % with 16 and with 32 probes, 94 % with 64.

    Parameters
    ----------
    errors
        ``|(N - B) w|²`` for each probe.
    references
        ``|N w|²`` for each probe.

    Raises
    ------
    InputError
        Fewer than two references are positive.
    """
    a, b = np.asarray(errors, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if a.shape != b.shape or a.size < 2:
        msg = f"probes must be at least two for an interval, got {a.size}"
        raise InputError(msg)
    responding = np.count_nonzero(b)
    if responding < 2:
        msg = f"operator must respond to at least two probes, got {responding} of {b.size}"
        raise InputError(msg)
    ratio = a.sum() / b.sum()
    if ratio == 0:
        return Estimate(0.0, 0.0, 0.0, a.size)
    leverage = b / b.sum()
    left = np.maximum(1 - leverage, 1e-6)  # one probe may carry nearly all of the reference
    standard_error = np.linalg.norm((a - ratio * b) / left) / b.sum()
    freedom = _freedom(leverage, left)
    value = math.sqrt(ratio)
    factor = math.exp(min(stdtrit(freedom, 0.975) * standard_error / (2 * ratio), 50.0))
    return Estimate(value, value / factor, value * factor, a.size)


def _freedom(leverage: np.ndarray, left: np.ndarray) -> float:
    """Return ``tr(S)² / |S|²`` of the residuals' covariance ``S = (diag(l) - l lᵀ) / (m mᵀ)``."""
    shares = leverage / left
    diagonal = leverage * (1 - leverage) / left**2
    squares = (shares**2).sum() ** 2 - (shares**4).sum() + (diagonal**2).sum()
    return float(diagonal.sum() ** 2 / squares)
