"""training_step: one step of the optimizer on a batch, and its figures."""

from __future__ import annotations

import math
import time
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from partunroll.errors import TrainingError
from partunroll.ranks import Ranks

if TYPE_CHECKING:
    from partunroll.patch_batch import PatchBatch
    from partunroll.training_state import TrainingState


def batch_losses(network: torch.nn.Module, batch: PatchBatch) -> torch.Tensor:
    """Return the loss of every patch of a batch."""
    x = network(batch.initial_estimate, batch.initial_gradient, batch.normal)
    return (x - batch.truth).abs().square().flatten(1).mean(1)


def training_step(
    state: TrainingState,
    batch: PatchBatch,
    network: torch.nn.Module | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Take one optimizer step on a batch and return its figures.

    Parameters
    ----------
    state
        What is changed.
    batch
        This process's part of the batch.
    network
        The state's network, such that gradients are means over all processes; None: as it is.
    ranks
        Processes that share the batch.

    Raises
    ------
    TrainingError
        The loss or the gradient is not finite; the weights are as before.
    """
    started = time.perf_counter()
    network, optimizer = network or state.network, state.optimizer
    state.network.train()
    learning_rate = state.learning_rate
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    losses = batch_losses(network, batch)
    loss = losses.mean()
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    max_norm = state.config.gradient_clip or math.inf
    gradient_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    _check_finite(losses.detach(), gradient_norm, batch, ranks)
    optimizer.step()
    state.step += 1
    return {
        "loss": ranks.mean(loss.item()),
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm.item(),
        "step_sizes": state.network.step_sizes.tolist(),
        "seconds": time.perf_counter() - started,
    }


def _check_finite(
    losses: torch.Tensor, gradient_norm: torch.Tensor, batch: PatchBatch, ranks: Ranks
) -> None:
    finite = bool(losses.isfinite().all()) and bool(gradient_norm.isfinite())
    if not ranks.any(not finite):
        return
    places = [f"{s} at {p.offset}" for s, p in zip(batch.samples, batch.patches, strict=True)]
    found = ranks.joined(list(zip(places, losses.tolist(), strict=True)))
    suspects = [place for place, loss in found if not math.isfinite(loss)]
    msg = (
        f"loss and gradient must be finite, got loss {fmean(loss for _, loss in found)}, gradient "
        f"norm {gradient_norm.item()} in step {batch.step + 1} on sample "
        f"{', '.join(suspects or [place for place, _ in found])} "
        f"(patch of {batch.patches[0].shape}, operator {batch.operator}); look at this sample, or "
        "lower learning_rate"
    )
    raise TrainingError(msg)
