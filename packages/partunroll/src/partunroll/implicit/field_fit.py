"""fit_field: a field fitted to one scan by Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from partunroll.errors import NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.implicit.neural_field import NeuralField

_MOMENTS, _EPSILON = (0.9, 0.99), 1e-15  # Müller et al. 2022, section 4: rows are met rarely


@dataclass(frozen=True)
class FitSteps:
    """How a field is fitted.

    Parameters
    ----------
    iterations
        Steps: what stops the fit.
    learning_rate
        Of the first step.
    final_learning_rate
        Of the last, as a share of the first; between them it falls exponentially.
    """

    iterations: int
    learning_rate: float
    final_learning_rate: float


def fit_field(
    field: NeuralField,
    loss_of: Callable[[NeuralField], torch.Tensor],
    steps: FitSteps,
    progress: Progress | None = None,
) -> list[float]:
    """Fit a field in place, and return the loss of every step.

    Raises
    ------
    NotFiniteError
        The loss is not finite.
    """
    optimizer = torch.optim.Adam(
        field.parameters(), lr=steps.learning_rate, betas=_MOMENTS, eps=_EPSILON
    )
    decay = steps.final_learning_rate ** (1 / max(1, steps.iterations - 1))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    losses = []
    track = (progress or Progress(disable=True)).track
    for step in track(range(steps.iterations), description="inr"):
        optimizer.zero_grad()
        loss = loss_of(field)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            msg = (
                f"loss must be finite, got {losses[-1]} in iteration {step + 1}; "
                f"lower learning_rate {steps.learning_rate:g}"
            )
            raise NotFiniteError(msg)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return losses
