"""fit_adam: stochastic gradient steps on fresh probes, the paper's method (eqs. 17-18).

It reaches the best factors there are, at thousands of applications of ``N``. Kept as the
reference that `least_squares` is compared with.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.energy import energy
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.fitted import Fitted, HistoryPoint
from normalfit.lag_kernel import LagKernel
from normalfit.probed_terms import ProbedTerms
from normalfit.probes import ProbeSet, draw_probe, generator, respond
from normalfit.progress import no_progress
from normalfit.smooth_image import smooth_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.lag_grid import LagGrid
    from normalfit.model import Model
    from normalfit.progress import Progress
    from normalfit.response_folder import ResponseFolder


@dataclass(frozen=True)
class AdamOptions:
    """How Adam proceeds.

    Parameters
    ----------
    learning_rate
        Of the first step, for factors of order one; it falls to zero along a cosine. Measured
        on cone beam 16³ and parallel beam 48², 1,000 steps: 3e-3 and 1e-2 reach the same error
        to 0.3 %, 1e-3 is 4 % worse on cone beam, 3e-4 by a third on both. # our choice
    evaluations
        How often the held-out error is measured.

    Raises
    ------
    InputError
        A value is out of range.
    """

    learning_rate: float = 3e-3
    evaluations: int = 40

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            msg = f"learning_rate must be positive, got {self.learning_rate}"
            raise InputError(msg)
        if self.evaluations < 1:
            msg = f"evaluations must be at least 1, got {self.evaluations}"
            raise InputError(msg)


def check_adam(model: Model) -> None:
    """Refuse what Adam does not fit.

    Raises
    ------
    InputError
        The model is not 'diagonal-circulant', or has a tolerance.
    """
    if model.name != "diagonal-circulant" or model.tolerance is not None:
        msg = (
            "model must be diagonal-circulant with a number of terms for Adam, "
            f"got {model.name} and tolerance {model.tolerance}"
        )
        raise InputError(msg)


def fit_adam(
    normal: Callable[[torch.Tensor], torch.Tensor],
    held_out: ProbeSet,
    model: Model,
    *,
    steps: int,
    seed: int = 0,
    options: AdamOptions | None = None,
    folder: ResponseFolder | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit ``Σ_k u_k (h_k ∗ x)`` by Adam, one fresh probe a step: `steps` applications of N.

    The kernels are free in the lag domain and real. It always runs to its last step, and so
    never calls itself converged; the factors with the lowest held-out error are kept.

    Parameters
    ----------
    normal
        ``N`` on ``(*shape)``.
    held_out
        Probes that choose among the iterates; they fix dtype and device of the factors.
    model
        Its lags, boundary and number of terms, one if that is open; the name must be
        'diagonal-circulant'.
    folder
        Where the responses are kept: those that it holds are not computed again.

    Raises
    ------
    InputError
        `steps` is not positive, the model is another, or ``N`` returns NaN or infinity.
    """
    if steps < 1:
        msg = f"steps must be at least 1, got {steps}"
        raise InputError(msg)
    check_adam(model)
    terms = model.terms or 1
    options = options or AdamOptions()
    descent = _Descent(
        held_out, model.lag_grid(held_out.shape), terms, seed, options.learning_rate, steps
    )
    like = held_out.responses[0]
    stored = folder and folder.responses(held_out.shape, like.dtype, "training", seed)
    started, best, squares = time.perf_counter(), descent.factors(), []
    history: list[HistoryPoint] = []
    for step in range(1, steps + 1):
        w = draw_probe(
            held_out.shape,
            seed=seed,
            stream="training",
            index=step - 1,
            device=like.device,
            dtype=like.dtype,
        )
        if stored and stored.has(step - 1):
            response = stored.read(step - 1).to(like.device)
        else:
            response = respond(normal, w)
            if stored:
                stored.write(step - 1, response)
        squares.append(descent.step(w, response))
        if step % math.ceil(steps / options.evaluations) and step < steps:
            continue
        factors = descent.factors()
        error = _relative_error(held_out, factors)
        best = (
            factors if error < min([p.held_out_error for p in history], default=math.inf) else best
        )
        train_error, squares = math.sqrt(sum(squares) / len(squares)), []
        seconds = time.perf_counter() - started
        history.append(HistoryPoint(terms, step, train_error, error, seconds))
        progress("Adam", step, steps, f"held-out error {error:.3f}")
    return Fitted(best, tuple(history), "step limit", converged=False)


class _Descent:
    """The factors and Adam's state.

    They are fitted to responses of unit mean square, so that one learning rate serves all
    operators.
    """

    def __init__(
        self,
        held_out: ProbeSet,
        grid: LagGrid,
        terms: int,
        seed: int,
        learning_rate: float,
        steps: int,
    ) -> None:
        self._grid = grid
        self._scale = math.sqrt(held_out.response_energy)
        like = held_out.responses[0]
        images = [smooth_image(self._grid.shape, generator(seed, "start", k)) for k in range(terms)]
        self._u = torch.stack([torch.ones_like(images[0]), *images[1:]]).to(like)
        self._h = like.new_zeros((terms, *self._grid.lags))
        self._h[(0, *[length // 2 for length in self._grid.lags])] = 1.0  # the identity
        # the fused update knows no complex numbers, and takes gradients to lie in memory as their
        # parameters do, whatever their strides say
        self._optimiser = torch.optim.Adam(
            [self._u, self._h], lr=learning_rate, fused=not like.is_complex()
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, steps)

    def step(self, w: torch.Tensor, response: torch.Tensor) -> float:
        """Take one step and return the squared relative error on its probe, from before it."""
        probed = ProbedTerms(self._grid, [w], self._u)
        (features,) = probed.features(self._h)
        residual = (self._u * features).sum(0) - response / self._scale
        self._u.grad = (residual * features.conj()).contiguous()
        self._h.grad = probed.adjoint([residual]).contiguous()
        self._optimiser.step()
        self._schedule.step()
        return float(residual.abs().square().mean())

    def factors(self) -> Factors:
        """Return a copy of the current factors, for responses as they are."""
        h = self._h * self._scale
        return Factors(LagKernel(h, self._grid.shape, self._grid.boundary), self._u.clone())


def _relative_error(probe_set: ProbeSet, factors: Factors) -> float:
    error = sum(
        energy(factors(w) - response)
        for w, response in zip(probe_set.probes, probe_set.responses, strict=True)
    )
    total = probe_set.response_energy * len(probe_set) * math.prod(probe_set.shape)
    return math.sqrt(error / total)
