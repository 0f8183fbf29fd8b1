"""training_step: one step of the optimizer on the patches of a few batches."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch

from partunroll.errors import TrainingError
from partunroll.learning_rate import learning_rate
from partunroll.losses import patch_losses
from partunroll.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from partunroll.patch_batch import PatchBatch
    from partunroll.training_state import TrainingState

_SMALLEST_SCALE = 1.0  # of the loss in fp16 (our choice): below it, gradients would vanish


def training_step(state: TrainingState, batches: Iterable[PatchBatch]) -> dict[str, Any]:
    """Take one step along the mean gradient of some batches and return its figures.

    With fp16 a gradient that overflows only lowers the scale of the loss: the weights stay, the
    figures say ``skipped``, and the schedule goes on.

    Parameters
    ----------
    state
        Changed in place.
    batches
        As many as the configuration accumulates, on any device.

    Raises
    ------
    TrainingError
        The loss or the gradient is not finite; the weights are as before.
    """
    started = time.perf_counter()
    config, network, optimizer, scaler = state.config, state.network, state.optimizer, state.scaler
    rate = learning_rate(config, state.step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    network.train()
    optimizer.zero_grad()
    operators, places, total, clock = [], [], 0.0, _Clock()
    for batch in clock.timed(batches):
        losses = _losses(state, batch.to(state.device))
        torch.autograd.backward(scaler.scale(losses.mean() / config.accumulation))
        total += _finite_mean(losses.detach(), batch, state.step + 1) / config.accumulation
        operators.append(batch.operator)
        places += _places(batch)
    scaler.unscale_(optimizer)
    max_norm = config.gradient_clip or math.inf
    gradient_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm).item()
    skipped = not math.isfinite(gradient_norm)
    if skipped and (not scaler.is_enabled() or scaler.get_scale() <= _SMALLEST_SCALE):
        raise TrainingError(_not_finite(total, gradient_norm, state.step + 1, places))
    scaler.step(optimizer)
    scaler.update()
    if state.average is not None and not skipped:
        state.average.update(network)
    state.step += 1
    return {
        "operator": ", ".join(dict.fromkeys(operators)),
        "loss": total,
        "learning_rate": rate,
        "gradient_norm": None if skipped else gradient_norm,
        "step_sizes": network.step_sizes.tolist(),
        **({"loss_scale": scaler.get_scale(), "skipped": skipped} if scaler.is_enabled() else {}),
        "seconds": time.perf_counter() - started - clock.waited,
        "data_seconds": clock.waited,
    }


def _losses(state: TrainingState, batch: PatchBatch) -> torch.Tensor:
    """Return the loss of every patch; only the prior is in the lower precision."""
    with autocast(state.config.precision, state.device):
        x = state.network(batch.initial_estimate, batch.initial_gradient, batch.normal)
    return patch_losses(state.config.loss, x.to(batch.truth.dtype), batch.truth)


class _Clock:
    """How long batches were waited for."""

    def __init__(self) -> None:
        self.waited = 0.0

    def timed(self, batches: Iterable[PatchBatch]) -> Iterator[PatchBatch]:
        asked = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()


def _finite_mean(losses: torch.Tensor, batch: PatchBatch, step: int) -> float:
    """Return the mean, or raise TrainingError naming the patches whose loss is not finite."""
    values = losses.tolist()
    mean = sum(values) / len(values)
    if not math.isfinite(mean):
        pairs = zip(_places(batch), values, strict=True)
        places = [place for place, value in pairs if not math.isfinite(value)]
        raise TrainingError(_not_finite(mean, None, step, places))
    return mean


def _places(batch: PatchBatch) -> list[str]:
    return [
        f"{sample} at {patch.offset} (patch of {patch.shape}, operator {batch.operator})"
        for sample, patch in zip(batch.samples, batch.patches, strict=True)
    ]


def _not_finite(loss: float, gradient_norm: float | None, step: int, places: list[str]) -> str:
    gradient = "" if gradient_norm is None else f", gradient norm {gradient_norm}"
    return (
        f"loss and gradient must be finite, got loss {loss}{gradient} in step {step} on sample "
        f"{', '.join(places)}; look at this sample, lower learning_rate, or take a wider precision"
    )
