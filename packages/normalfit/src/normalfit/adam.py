"""fit_adam: the paper's fit, stochastic gradient descent on fresh probes (paper, eq. 17)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.fitted import Fitted, HistoryPoint
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.probes import draw_probe, generator
from normalfit.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.lag_grid import Boundary
    from normalfit.probes import ProbeSet
    from normalfit.progress import Progress


@dataclass(frozen=True)
class AdamOptions:
    """How Adam proceeds; the values are our choice.

    Parameters
    ----------
    learning_rate
        In units in which ``N w`` has unit variance; falls to zero along a cosine.
    evaluations
        How often the held-out error is measured; the best factors met are kept.

    Raises
    ------
    InputError
        A value is not positive.
    """

    learning_rate: float = 0.01
    evaluations: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf or self.evaluations < 1:
            msg = f"learning_rate and evaluations must be positive, got {self}"
            raise InputError(msg)


def fit_adam(
    normal: Callable[[torch.Tensor], torch.Tensor],
    held_out: ProbeSet,
    boundary: tuple[Boundary, ...],
    *,
    terms: int = 1,
    steps: int = 1000,
    seed: int = 0,
    options: AdamOptions | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit ``Σ_k u_k (h_k ∗ x)`` with one fresh Gaussian probe per step.

    The kernel is kept in the lag domain and real. Costs one application of ``N`` per step.

    Parameters
    ----------
    normal
        ``N`` on ``(*shape)``.
    held_out
        Probes that choose the best factors met; they fix shape, dtype and device.
    boundary
        'periodic' or 'linear' per axis.
    terms, steps, seed
        Number of terms; fresh probes; seed of the probes and of the start.

    Raises
    ------
    InputError
        `terms` or `steps` is not positive, or a loss is not finite (lower the learning rate).
    """
    if terms < 1 or steps < 1:
        msg = f"terms and steps must be at least 1, got {terms} and {steps}"
        raise InputError(msg)
    options = options or AdamOptions()
    scale = math.sqrt(held_out.response_energy)
    model = _Model(held_out, boundary, terms, scale, seed)
    optimizer = torch.optim.Adam([model.u, model.h], lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, history, started = (math.inf, model.factors(scale)), [], time.perf_counter()
    losses: list[float] = []
    for step in range(1, steps + 1):
        w = draw_probe(
            held_out.shape,
            seed=seed,
            stream="training",
            index=step - 1,
            device=model.u.device,
            dtype=model.u.dtype,
        )
        losses.append(model.gradient_step(w, normal(w) / scale))
        _check_finite(losses[-1], step, options.learning_rate)
        optimizer.step()
        schedule.step()
        if step % max(1, steps // options.evaluations) == 0 or step == steps:
            factors = model.factors(scale)
            error = held_out_error(factors, held_out)
            recent = math.sqrt(sum(losses) / len(losses))
            losses.clear()
            spent = time.perf_counter() - started
            history.append(HistoryPoint(terms, step, recent, error, spent))
            best = min(best, (error, factors), key=lambda pair: pair[0])
            progress("adam", step, steps, f"held-out error {error:.3f}")
    return Fitted(best[1], tuple(history), "all steps taken", converged=False)


def held_out_error(factors: Factors, held_out: ProbeSet) -> float:
    """Return the relative Frobenius error on a set of probes."""
    errors = [
        float(torch.linalg.vector_norm(response - factors(w))) ** 2
        for w, response in zip(held_out.probes, held_out.responses, strict=True)
    ]
    total = held_out.response_energy * len(held_out) * math.prod(held_out.shape)
    return math.sqrt(sum(errors) / total)


class _Model:
    """The parameters and the gradient of the loss, in units of the response's deviation."""

    def __init__(
        self,
        held_out: ProbeSet,
        boundary: tuple[Boundary, ...],
        terms: int,
        scale: float,
        seed: int,
    ) -> None:
        w, response = held_out.probes[0], held_out.responses[0]
        self.grid = LagGrid.full(held_out.shape, boundary)
        self.u = w.new_ones((terms, *self.grid.shape))
        if terms > 1:  # equal terms would stay equal
            noise = torch.randn(self.u.shape, generator=generator(seed, "start", 0))
            self.u[1:] += 0.1 * noise[1:].to(self.u)
        self.h = w.new_zeros((terms, *self.grid.lags))
        centre: Any = (slice(None), *(length // 2 for length in self.grid.lags))
        diagonal = torch.sum(w * response) / torch.sum(w * w)  # mean of the diagonal of N
        self.h[centre] = diagonal / (scale * terms)

    def gradient_step(self, w: torch.Tensor, response: torch.Tensor) -> float:
        """Put the gradient of ``|B w - N w|²`` per voxel where Adam finds it; return the loss."""
        w_spectrum = self.grid.transform(w, half=True)
        spectrum = self.grid.spectrum(self.h, half=True)
        convolved = self.grid.inverse(spectrum * w_spectrum, half=True)
        residual = (self.u * convolved).sum(0) - response
        weight = 2.0 / residual.numel()
        self.u.grad = weight * residual * convolved
        image = self.grid.transform(self.u * residual, half=True)
        self.h.grad = weight * self.grid.inverse_lags(w_spectrum.conj() * image, half=True)
        return float(residual.square().mean())

    def factors(self, scale: float) -> Factors:
        """Return the present factors, in the operator's units."""
        kernel = LagKernel(self.h * scale, self.grid.shape, self.grid.boundary)
        return Factors(kernel, self.u.clone())


def _check_finite(loss: float, step: int, learning_rate: float) -> None:
    if not math.isfinite(loss):
        msg = f"loss must be finite, got {loss} in step {step}; lower learning_rate {learning_rate}"
        raise InputError(msg)
