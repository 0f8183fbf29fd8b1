"""Refinement: sweeps of a fit until the error on held-out probes no longer falls."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from normalfit.errors import InputError
from normalfit.estimate import relative_error_estimate
from normalfit.fitted import HistoryPoint
from normalfit.probe_set_error import probe_energies

if TYPE_CHECKING:
    from normalfit.estimate import Estimate
    from normalfit.lag_grid import LagGrid
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.probes import ProbeSet
    from normalfit.progress import Progress
    from normalfit.terms import Terms


class Sweep(Protocol):
    """One sweep of a method: the new terms, and their error on the training probes."""

    def __call__(self, terms: Terms, noise: float) -> tuple[Terms, float]:
        """Return terms that fit better; `noise` is the variance that is left on held-out probes."""


@dataclass(frozen=True, eq=False)
class Refined:
    """The terms with the lowest held-out error that a refinement met.

    Parameters
    ----------
    terms
        The terms.
    error
        Their error on the held-out probes.
    residuals
        ``|(N - B) w|²`` of every held-out probe.
    converged
        Whether the error no longer fell.
    """

    terms: Terms
    error: Estimate
    residuals: tuple[float, ...]
    converged: bool


class Refinement:
    """What guides a fit, and its history.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid.
    training
        Probes that the sweeps fit to; only counted here.
    held_out
        Probes that say when to stop, and set the ridges.
    options
        When to stop.
    progress
        Told after every sweep.
    """

    def __init__(
        self,
        grid: LagGrid,
        training: ProbeSet,
        held_out: ProbeSet,
        options: LeastSquaresOptions,
        progress: Progress,
    ) -> None:
        self.history: list[HistoryPoint] = []
        self._grid, self._training, self._held_out = grid, training, held_out
        self._options, self._progress = options, progress
        self._started = time.perf_counter()

    def run(
        self,
        sweep: Sweep,
        terms: Terms,
        error: float = 1.0,
        *,
        trial: bool = False,
        stage: bool = False,
    ) -> Refined:
        """Sweep until the held-out error no longer falls.

        Parameters
        ----------
        sweep
            The method.
        terms
            Where to start.
        error
            Held-out error of what is known already: zeros have one.
        trial
            Whether this only tries a start.
        stage
            Whether more terms are to come, so that a coarse result will do.

        Raises
        ------
        InputError
            No sweep led to a finite error.
        """
        options = self._options
        limit = options.trial_sweeps if trial else options.sweeps
        least = options.stage_improvement if stage else options.min_improvement
        patience = 1 if stage else options.patience
        energy = self._held_out.response_energy
        best: Refined | None = None
        misses = 0
        for count in range(1, limit + 1):
            terms, train_error = sweep(terms, error**2 * energy)
            measured = self._measured(terms)
            error = measured.error.value
            self._record(terms, train_error, error)
            self._progress("least squares", count, limit, f"held-out error {error:.3f}")
            threshold = math.inf if best is None else best.error.value
            fell = error < threshold * (1 - least)
            misses = 0 if fell else misses + 1
            if error < threshold:
                best = measured
            if misses >= patience:
                break
        if best is None:
            msg = (
                f"held-out error must be finite, got {error} after {count} sweeps; "
                "fit in double precision, or with more probes"
            )
            raise InputError(msg)
        return replace(best, converged=misses >= patience)

    def begin(self, sweep: Sweep, terms: Terms, *, stage: bool = False) -> Refined:
        """Refine terms without a kernel yet, or go on from known ones.

        Known ones stay where nothing better is found, as from fewer probes than theirs.
        """
        if not bool(terms.h.any()):
            return self.run(sweep, terms, stage=stage)
        return self.go_on(sweep, self._measured(terms), stage=stage)

    def go_on(self, sweep: Sweep, known: Refined, *, stage: bool = False) -> Refined:
        """Refine once more; what is known stays where that finds nothing better."""
        found = self.run(sweep, known.terms, known.error.value, stage=stage)
        better = found if found.error.value < known.error.value else known
        return replace(better, converged=found.converged)

    def _measured(self, terms: Terms) -> Refined:
        errors, references = probe_energies(self._held_out, terms.factors(self._grid))
        estimate = relative_error_estimate(errors, references)
        return Refined(terms, estimate, tuple(errors), converged=False)

    def _record(self, terms: Terms, train_error: float, held_out_error: float) -> None:
        self.history.append(
            HistoryPoint(
                terms=len(terms),
                applications=len(self._training),
                train_error=train_error,
                held_out_error=held_out_error,
                seconds=time.perf_counter() - self._started,
            )
        )
