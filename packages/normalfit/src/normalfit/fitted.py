"""Fitted: what a fitting method hands back, before anything is measured on fresh probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normalfit.factors import Factors


@dataclass(frozen=True)
class HistoryPoint:
    """Where a fit stood after one sweep, or at one evaluation.

    Parameters
    ----------
    terms
        Number of terms at this point; least squares grows them one by one.
    applications
        Applications of ``N`` spent on training so far.
    train_error
        Relative Frobenius error on the training probes.
    held_out_error
        The same on held-out probes, which guide the fit.
    seconds
        Since the method started, without collecting responses.
    """

    terms: int
    applications: int
    train_error: float
    held_out_error: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """The factors with the lowest held-out error that a method met, and how it got there.

    Parameters
    ----------
    factors
        The factors, with as many terms as were asked for.
    history
        Points in the order in which they were met.
    stop_reason
        Why the method stopped.
    converged
        Whether it stopped because more of the same would not have helped.
    """

    factors: Factors
    history: tuple[HistoryPoint, ...]
    stop_reason: str
    converged: bool

    @property
    def num_terms(self) -> int:
        """Number of terms, or of virtual coils."""
        return self.factors.terms
