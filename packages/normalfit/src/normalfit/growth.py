"""Growth: terms are added one at a time, each from the best of several starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from normalfit.model import MAX_TERMS
from normalfit.probes import generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.model import Model
    from normalfit.refinement import Refined, Refinement, Sweep
    from normalfit.terms import Terms

STREAM_STRIDE = 1000  # starts of one term; keeps the first start of each as it was


def grow(
    refinement: Refinement,
    sweep: Sweep,
    terms: Terms,
    model: Model,
    *,
    seed: int,
    options: LeastSquaresOptions,
) -> Refined:
    """Return the terms that the model asks for, refined after every one that is added.

    Where the model leaves their number open, terms are added while the held-out error falls
    by `term_improvement`, and its fall is outside its own 95 % interval, until it is at the
    tolerance.

    Parameters
    ----------
    refinement, sweep
        What refines.
    terms
        An empty sum, or terms to go on from.
    model
        Number of terms, or tolerance.
    seed
        Of the starts.
    options
        How many starts, and how long they are tried.
    """
    most = model.terms or MAX_TERMS
    start = terms if len(terms) else terms.with_new_term(generator(seed, "start", 0))
    best = refinement.begin(sweep, start, stage=most > 1)
    while len(best.terms) < most and not best.error.value <= (model.tolerance or 0.0):
        found = _one_more(refinement, sweep, best, seed, options)
        if model.terms is None and not _fell(best, found, options.term_improvement):
            break
        best = found
    return best if most == 1 else refinement.go_on(sweep, best)


def best_start(
    refinement: Refinement,
    sweep: Sweep,
    starts: Sequence[Terms],
    error: float,
) -> Refined:
    """Try every start for a few sweeps and return the best; one start is refined as a stage.

    Parameters
    ----------
    refinement, sweep
        What refines.
    starts
        The starts.
    error
        Held-out error of what is known already.
    """
    single = len(starts) == 1
    tried = [refinement.run(sweep, s, error, trial=not single, stage=single) for s in starts]
    return min(tried, key=lambda refined: refined.error.value)


def _one_more(
    refinement: Refinement, sweep: Sweep, best: Refined, seed: int, options: LeastSquaresOptions
) -> Refined:
    """Add a term: try several starts of it, and go on with the best.

    (Starts of white noise fit noise: cone beam 24³, 32 probes, K = 2, 0.334 against 0.269. Of
    four smooth starts of a second tied term, cone beam 14³, one ends at 0.198 instead of 0.14.)
    """
    index = len(best.terms)
    starts = [
        best.terms.with_new_term(generator(seed, "start", index + STREAM_STRIDE * attempt))
        for attempt in range(options.starts)
    ]
    start = best_start(refinement, sweep, starts, best.error.value)
    if options.starts == 1:
        return start
    return refinement.run(sweep, start.terms, start.error.value, stage=True)


def _fell(before: Refined, after: Refined, least: float) -> bool:
    """Return whether a term is worth what it costs, and not by chance.

    The same probes measure both: it is their differences that have an interval.
    """
    falls = np.asarray(before.residuals) - np.asarray(after.residuals)
    half_width = stdtrit(len(falls) - 1, 0.975) * falls.std(ddof=1) / math.sqrt(len(falls))
    is_enough = after.error.value < before.error.value * (1 - least)
    return is_enough and bool(falls.mean() > half_width)
