"""LeastSquaresOptions: how alternating least squares proceeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from normalfit.errors import InputError


@dataclass(frozen=True)
class LeastSquaresOptions:
    """How alternating least squares proceeds.

    Parameters
    ----------
    smooth_probes
        The share of the probes that are smooth, see `training_set`; 0 is none, as in the paper.
    ridge_kernel, ridge_u
        Multiply the ridges that `shrinkage` finds for the kernels and the diagonals; 0 is none.
    sweeps
        At most this many for each number of terms.
    patience
        Stop after this many sweeps in a row without improvement.
    min_improvement
        Relative fall of the held-out error that counts as one.
    stage_improvement
        The same while more terms are to come: then one sweep without it is enough to go on.
    term_improvement
        Relative fall of the held-out error that one more term must bring, as it costs one more
        pair of FFTs, where their number is left open.
    starts
        Random starts that are tried for each term after the first, and
    trial_sweeps
        for how many sweeps, before the best of them is refined.
    cg_iterations, cg_tolerance
        Of the conjugate gradients of one kernel step, which start from the last kernels. (Cone
        beam 24³, 16 to 128 probes, two terms: 2 and 12 iterations end at the same error to
        three digits, after as many sweeps.)

    Raises
    ------
    InputError
        A value is out of range.
    """

    smooth_probes: float = 0.25
    ridge_kernel: float = 1.0
    ridge_u: float = 1.0
    sweeps: int = 20
    patience: int = 2
    min_improvement: float = 1e-3
    stage_improvement: float = 1e-2
    term_improvement: float = 0.04
    starts: int = 2
    trial_sweeps: int = 3
    cg_iterations: int = 3
    cg_tolerance: float = 1e-3

    def __post_init__(self) -> None:
        numbers = (
            "ridge_kernel",
            "ridge_u",
            "min_improvement",
            "term_improvement",
            "stage_improvement",
            "cg_tolerance",
        )
        for name in numbers:
            if not 0 <= getattr(self, name) < math.inf:
                msg = f"{name} must be zero or more, got {getattr(self, name)}"
                raise InputError(msg)
        if not 0 <= self.smooth_probes < 1:
            msg = f"smooth_probes must be from 0 to below 1, got {self.smooth_probes}"
            raise InputError(msg)
        for name in ("sweeps", "patience", "starts", "trial_sweeps", "cg_iterations"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, got {getattr(self, name)}"
                raise InputError(msg)
