"""training_step: one step of the optimizer on the patches of a few batches."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from partunroll.configuration.losses import patch_losses
from partunroll.configuration.precision import autocast
from partunroll.errors import TrainingError
from partunroll.ranks import Ranks
from partunroll.training.learning_rate import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from partunroll.patches.denoising_batch import TrainingBatch
    from partunroll.training.training_state import TrainingState

_SMALLEST_SCALE = 1.0  # of the loss in fp16 (our choice): below it, gradients would vanish


def training_step(
    state: TrainingState,
    batches: Iterable[TrainingBatch],
    network: torch.nn.Module | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Take one step along the mean gradient of some batches and return its figures.

    With fp16 a gradient that overflows only lowers the scale of the loss: the weights stay, the
    figures say ``skipped``, and the schedule goes on.

    Parameters
    ----------
    state
        Changed in place.
    batches
        As many as the configuration accumulates, on any device; this process's parts of them.
    network
        The state's network, such that gradients are means over all processes; None: as it is.
    ranks
        Processes that share the batches.

    Raises
    ------
    TrainingError
        The loss or the gradient is not finite, in any process; the weights are as before.
    """
    started = time.perf_counter()
    config, optimizer, scaler = state.config, state.optimizer, state.scaler
    rate = learning_rate(config, state.step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    state.network.train()
    optimizer.zero_grad()
    operators, found, clock = [], [], _Clock()
    for number, batch in enumerate(clock.timed(batches), 1):
        with _gradients_kept_here(network, number < config.accumulation):
            losses = batch_losses(state, batch.to(state.device), network)
            torch.autograd.backward(scaler.scale(losses.mean() / config.accumulation))
        operators.append(batch.operator)
        found += list(zip(_places(batch), losses.tolist(), strict=True))
    total = _finite_mean(found, state.step + 1, ranks)
    scaler.unscale_(optimizer)
    max_norm = config.gradient_clip or math.inf
    gradient_norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), max_norm).item()
    skipped = ranks.any(not math.isfinite(gradient_norm))
    if skipped and (not scaler.is_enabled() or scaler.get_scale() <= _SMALLEST_SCALE):
        places = [place for place, _ in ranks.joined(found)]
        raise TrainingError(_not_finite(total, gradient_norm, state.step + 1, places))
    scaler.step(optimizer)
    scaler.update()
    if state.average is not None and not skipped:
        state.average.update(state.network)
    state.step += 1
    return {
        "operator": ", ".join(dict.fromkeys(operators)),
        "loss": total,
        "learning_rate": rate,
        "gradient_norm": None if skipped else gradient_norm,
        "step_sizes": state.network.step_sizes.tolist(),
        **({"loss_scale": scaler.get_scale(), "skipped": skipped} if scaler.is_enabled() else {}),
        "seconds": time.perf_counter() - started - clock.waited,
        "data_seconds": clock.waited,
    }


def batch_losses(
    state: TrainingState, batch: TrainingBatch, network: torch.nn.Module | None = None
) -> torch.Tensor:
    """Return the loss of every patch; only the prior is in the lower precision.

    `network` is as for `training_step`.
    """
    with autocast(state.config.precision, state.device):
        x = (network or state.network)(*batch.inputs)
    return patch_losses(state.config.loss, x.to(batch.truth.dtype), batch.truth)


class _Clock:
    """How long batches were waited for."""

    def __init__(self) -> None:
        self.waited = 0.0

    def timed(self, batches: Iterable[TrainingBatch]) -> Iterator[TrainingBatch]:
        asked = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()


def _gradients_kept_here(
    network: torch.nn.Module | None, wanted: bool
) -> AbstractContextManager[None]:
    """Leave the mean over the processes to a later backward pass of the same step, if wanted."""
    if wanted and isinstance(network, torch.nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def _finite_mean(found: list[tuple[str, float]], step: int, ranks: Ranks) -> float:
    """Return the mean over all processes, or raise TrainingError in all of them.

    The places whose loss is not finite are named, of all processes.
    """
    mean = ranks.mean(fmean(loss for _, loss in found))
    if ranks.any(not math.isfinite(mean)):  # none may raise while others wait for it
        places = [place for place, loss in ranks.joined(found) if not math.isfinite(loss)]
        raise TrainingError(_not_finite(mean, None, step, places))
    return mean


def _places(batch: TrainingBatch) -> list[str]:
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
