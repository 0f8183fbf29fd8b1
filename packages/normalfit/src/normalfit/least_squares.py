"""fit_least_squares: alternating least squares on a fixed set of probes (design §3).

The loss ``Σ_m |N w_m - Σ_k u_k (h_k ∗ (v_k w_m))|²`` is linear in the kernels, in u and in v:
each is found in turn with the others fixed, u (and for a self-adjoint N also v) in closed form.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from normalfit.errors import InputError
from normalfit.fitted import Fitted
from normalfit.free_alternation import FreeAlternation
from normalfit.growth import STREAM_STRIDE, best_start, grow
from normalfit.hermitian import positive_semidefinite
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.local_alternation import LocalAlternation
from normalfit.probes import generator
from normalfit.progress import no_progress
from normalfit.refinement import Refinement
from normalfit.smooth_image import smooth_image
from normalfit.terms import Terms
from normalfit.tied_alternation import TiedAlternation
from normalfit.tied_descent import TiedDescent
from normalfit.warm_start import check_start

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.model import Model
    from normalfit.probes import ProbeSet
    from normalfit.progress import Progress
    from normalfit.refinement import Refined, Sweep

# Zeros have the held-out error 1. Inpainting of 12³ voxels of which 2 % are kept, 4 probes: stops
# at 0.91 and a training error of 0.24, where 32 probes reach 0.02.  # our choice
_HARDLY_BETTER_THAN_ZERO = 0.9


def fit_least_squares(
    training: ProbeSet,
    held_out: ProbeSet,
    model: Model,
    *,
    self_adjoint: bool = True,
    start: Factors | None = None,
    seed: int = 0,
    options: LeastSquaresOptions | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit a model to responses by alternating least squares.

    A fit that ends where zeros would be about as good does not count as converged. The scale
    of ``N`` makes no difference.

    Parameters
    ----------
    training
        Probes to fit to. They fix the dtype and the device of the factors.
    held_out
        Probes that set the ridges and say when to stop; at least two.
    model
        The factors that are looked for.
    self_adjoint
        Whether ``N`` is, as A*A is where the adjoint is exact; not checked. It ties the
        factors of two-sided models and doubles what the responses tell about one-sided ones,
        local ones excepted. Symmetric and multicoil models are self-adjoint in any case.
    start
        Factors to go on from, which `check_start` accepts; None starts from nothing.
    seed
        Of the starts of terms or coils after the first.
    options
        None means the defaults.

    Raises
    ------
    InputError
        The two sets or the model do not fit each other, `check_start` refuses the start, every
        response is zero, or the fit ends in NaN.
    """
    if held_out.shape != training.shape:
        msg = f"held-out probes must have the shape {training.shape}, got {held_out.shape}"
        raise InputError(msg)
    if start is not None:
        dtype = training.responses[0].dtype
        check_start(start, model, training.shape, self_adjoint=self_adjoint, dtype=dtype)
    # Descent and line search have thresholds of their own: multicoil ended in NaN for |A*A| of
    # 1e-5, and float32 overflows for |A*A| of 1e16. So responses have unit mean square.
    scale = math.sqrt(training.response_energy)
    training, held_out = training.scaled(1 / scale), held_out.scaled(1 / scale)
    start = None if start is None else start.scaled(1 / scale)
    fit = _Fit(training, held_out, model, options or LeastSquaresOptions(), progress, start)
    fitted = fit.run(seed, self_adjoint=self_adjoint)
    return replace(fitted, factors=fitted.factors.scaled(scale))


class _Fit:
    """One run of the method."""

    def __init__(
        self,
        training: ProbeSet,
        held_out: ProbeSet,
        model: Model,
        options: LeastSquaresOptions,
        progress: Progress,
        start: Factors | None,
    ) -> None:
        self._training, self._model, self._options = training, model, options
        self._grid = model.lag_grid(training.shape)
        self._refinement = Refinement(self._grid, training, held_out, options, progress)
        self._none = Terms.none(self._grid, training.responses[0])
        like = self._none.h
        self._start = None if start is None else Terms.of(start.to(like.device, like.dtype))

    def run(self, seed: int, *, self_adjoint: bool) -> Fitted:
        name = self._model.name
        if name == "local":
            refined = self._local()
        elif name == "symmetric":
            refined = self._symmetric()
        elif name == "multicoil":
            refined = self._multicoil(seed)
        elif name == "two-sided" and self_adjoint:
            refined = self._tied(seed)
        else:
            refined = self._free(seed, self_adjoint=self_adjoint)
        error = refined.error.value
        learned = error < _HARDLY_BETTER_THAN_ZERO
        return Fitted(
            refined.terms.factors(self._grid),
            tuple(self._refinement.history),
            _stop_reason(error, converged=refined.converged),
            refined.converged and learned,
        )

    def _free(self, seed: int, *, self_adjoint: bool) -> Refined:
        sweep = FreeAlternation(
            self._grid, self._training, self._options, self_adjoint=self_adjoint
        ).sweep
        if self._model.name == "diagonal-circulant" or self._start is not None:
            return self._grown(sweep, self._start or self._none, seed)
        # N = A*A is nearly self-adjoint even where the adjoint is not exact, and tied terms are
        # a quarter of the unknowns. Cone beam 16³, 40 views, 64 probes: 0.262, 0.171 and (four
        # terms) 0.147 instead of 0.274, 0.194 and 0.194 (two) from one-sided terms.
        return self._refinement.go_on(sweep, self._tied(seed))

    def _tied(self, seed: int) -> Refined:
        alternation = TiedAlternation(self._grid, self._training, self._options)
        start = self._allowed_start(alternation) or self._none.with_other_side()
        return self._grown(alternation.sweep, start, seed)

    def _symmetric(self) -> Refined:
        alternation = TiedAlternation(
            self._grid,
            self._training,
            self._options,
            project_kernel=lambda h, known: positive_semidefinite(h, self._grid, known),
            project_diagonal=lambda u: u.real.clamp_min(0).to(u.dtype),
        )
        start = self._allowed_start(alternation) or self._one_term()
        return self._refinement.begin(alternation.sweep, start)

    def _multicoil(self, seed: int) -> Refined:
        alternation = TiedAlternation(self._grid, self._training, self._options)
        sweep = TiedDescent(self._grid, self._training, self._options, alternation).sweep
        known = self._allowed_start(alternation)
        if known is not None:
            return self._refinement.begin(sweep, known)
        one, more = self._one_term(), (self._model.terms or 1) - 1
        if not more:
            return self._refinement.run(sweep, one)
        starts = []
        for attempt in range(self._options.starts):
            first = 1 + STREAM_STRIDE * attempt
            coils = [one.u[0], *(self._smooth_coil(seed, first + k) for k in range(more))]
            starts.append(one.with_diagonals(torch.stack(coils)))
        return self._refinement.go_on(sweep, best_start(self._refinement, sweep, starts, 1.0))

    def _local(self) -> Refined:
        counts = self._model.window_counts(self._grid.shape)
        alternation = LocalAlternation(self._grid, self._training, self._options, counts)
        start = alternation.start()
        if self._start is not None:
            start = replace(start, h=self._start.h, u=self._start.u)
        return self._refinement.begin(alternation.sweep, start)

    def _grown(self, sweep: Sweep, start: Terms, seed: int) -> Refined:
        how: dict[str, Any] = {"seed": seed, "options": self._options}
        return grow(self._refinement, sweep, start, self._model, **how)

    def _allowed_start(self, alternation: TiedAlternation) -> Terms | None:
        """Return the start as the model allows it: it may stay where nothing better is found."""
        return None if self._start is None else alternation.allowed(self._start)

    def _one_term(self) -> Terms:
        return self._none.with_other_side().with_new_term(torch.Generator())

    def _smooth_coil(self, seed: int, index: int) -> torch.Tensor:
        """Return a smooth random image, complex where the probes are."""
        draw = generator(seed, "start", index)
        image = smooth_image(self._grid.shape, draw)
        if self._none.u.is_complex():
            image = torch.complex(image, smooth_image(self._grid.shape, draw))
        return image.to(self._none.u)


def _stop_reason(error: float, *, converged: bool) -> str:
    if not converged:
        return "sweep limit"
    if error < _HARDLY_BETTER_THAN_ZERO:
        return "held-out error no longer falls"
    return f"held-out error {error:.2f}, hardly better than no factors; use more probes"
