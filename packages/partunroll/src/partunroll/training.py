"""train: patch-partitioned training of a network (paper, eq. 13; design §4)."""

from __future__ import annotations

import math
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import Progress

from normalfit.devices import resolve_device
from normalfit.errors import NormalfitError
from partunroll.data_store import DataStore
from partunroll.errors import PartunrollError, TrainingError
from partunroll.patch_dataset import PatchDataset
from partunroll.run_directory import open_run
from partunroll.run_log import RunLog
from partunroll.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from partunroll.config import TrainConfig
    from partunroll.patch_batch import PatchBatch
    from partunroll.run_directory import RunDirectory
    from partunroll.training_state import TrainingState


@dataclass(frozen=True)
class TrainResult:
    """What a training run ended with.

    Parameters
    ----------
    output
        Its directory: ``config.yaml``, ``log.jsonl``, ``last.pt``, ``best.pt``.
    step, steps
        Steps taken, of the steps configured.
    loss
        Loss of the last step; None if this call took none.
    best
        Figures of the best validation, by PSNR, with its ``step``.
    seconds
        Time of this call.
    stop_reason
        'finished', or 'stop_after'.
    notes
        What the user should know about factors and data, a sentence each.
    """

    output: Path
    step: int
    steps: int
    loss: float | None
    best: Mapping[str, float]
    seconds: float
    stop_reason: str
    notes: tuple[str, ...]


def train(
    config: TrainConfig | None,
    factor_files: Sequence[Path],
    data: Path | None,
    output: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    stop_after: int | None = None,
    allow_mismatch: bool = False,
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train a network on patches of a data store, or of objects made for it.

    Each step applies the network to a batch of patches with restricted factors. No step applies
    an operator to a whole volume; validation does. The same seed, machine and thread count give
    the same weights bit for bit on the CPU, also when a run is resumed.

    Parameters
    ----------
    config
        None: the defaults, or with `resume` the configuration of the run.
    factor_files
        One for each operator of the data.
    data
        Data store; None: made objects, simulated with the operators of the factor files.
    output
        Directory of the run; it must not exist yet unless `resume`.
    resume
        Go on from ``last.pt``.
    progress
        Where to show a bar with the loss.
    stop_after
        Save and stop once this many of the configured steps are taken.
    allow_mismatch
        As for `match_factor_files`; what was allowed stands in ``config.yaml`` of a new run, in
        ``log.jsonl`` and in the notes.
    say
        Told what was allowed, before the first step.

    Raises
    ------
    InputError
        The output exists, there is nothing to resume, the run had another configuration, or
        the data do not fit the configuration.
    MismatchError
        Factor files and operators do not belong together, or are not those of the run.
    TrainingError
        A loss or gradient is not finite; step, samples and patches are named.
    """
    started = time.perf_counter()
    progress = progress or Progress(disable=True)
    run = open_run(
        config,
        factor_files,
        data,
        output,
        resume=resume,
        progress=progress,
        allow_mismatch=allow_mismatch,
    )
    if say is not None:
        for note in run.allowed:
            say(note)
    config, device = run.config, resolve_device(run.config.device)
    state = run.state(device)
    last_step = min(config.steps, stop_after or config.steps)
    task = progress.add_task("train", total=config.steps, completed=state.step)
    loss, clock = None, time.perf_counter()
    with RunLog(run.log_path, state.step) as log, _kept_on_error(run, state):
        if run.allowed:
            log.write(state.step, allowed=list(run.allowed))
        for batch in _batches(run, device, state.step, last_step):
            waited = time.perf_counter() - clock
            figures = training_step(state, batch.to(device))
            loss = figures["loss"]
            log.write(state.step, operator=batch.operator, **figures, data_seconds=waited)
            description = f"train, loss {loss:.2e}"
            progress.update(task, completed=state.step, description=description)
            if state.step % config.validation.every == 0 or state.step == config.steps:
                state.save(run.last_path, resumable=True)
                metrics = validate(state.network, run.data_path, run.operators, config, device)
                log.write(state.step, validation=metrics)
                if state.validated(metrics):
                    state.save(run.best_path, resumable=False)
                state.save(run.last_path, resumable=True)
            clock = time.perf_counter()
    if state.step < config.steps:  # the last step has been saved with its validation
        state.save(run.last_path, resumable=True)
    return TrainResult(
        run.path,
        state.step,
        config.steps,
        loss,
        state.best,
        time.perf_counter() - started,
        "finished" if state.step == config.steps else "stop_after",
        _notes(run),
    )


def training_step(state: TrainingState, batch: PatchBatch) -> dict[str, Any]:
    """Take one optimizer step on a batch and return its figures.

    Raises
    ------
    TrainingError
        The loss or the gradient is not finite; the weights are as before.
    """
    started = time.perf_counter()
    network, optimizer = state.network.train(), state.optimizer
    learning_rate = state.learning_rate
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    x = network(batch.initial_estimate, batch.initial_gradient, batch.normal)
    losses = (x - batch.truth).abs().square().flatten(1).mean(1)
    loss = losses.mean()
    optimizer.zero_grad()
    loss.backward()
    max_norm = state.config.gradient_clip or math.inf
    gradient_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    _check_finite(losses.detach(), gradient_norm, batch)
    optimizer.step()
    state.step += 1
    return {
        "loss": loss.item(),
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm.item(),
        "step_sizes": network.step_sizes.tolist(),
        "seconds": time.perf_counter() - started,
    }


def _batches(
    run: RunDirectory, device: torch.device, first: int, last: int
) -> Iterable[PatchBatch]:
    """Return the batches of the steps `first` … `last` - 1, made here or by workers."""
    workers = run.config.num_workers
    where = torch.device("cpu") if workers else device  # GPU tensors do not cross processes
    dataset = PatchDataset(run.data_path, run.operators, run.config, where)
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=None,  # an item is a batch
        sampler=range(first, last),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # zarr and numba do not fork
    )


@contextmanager
def _kept_on_error(run: RunDirectory, state: TrainingState) -> Iterator[None]:
    """Keep the steps of a run that ends in an error; a new run without steps leaves nothing.

    A loss that is not finite is the exception: the last checkpoint was good, the weights since
    may not be.
    """
    first = state.step
    try:
        yield
    except TrainingError:
        raise
    except (NormalfitError, PartunrollError):
        if state.step > first:
            state.save(run.last_path, resumable=True)
        elif run.is_new:
            shutil.rmtree(run.path)
        raise


def _notes(run: RunDirectory) -> tuple[str, ...]:
    samples = DataStore.open(run.data_path).samples
    guilty = sum(bool(sample.inverse_crime) for sample in samples)
    if not guilty:
        return run.allowed
    return (
        *run.allowed,
        f"{guilty} of the {len(samples)} samples of the data were simulated on the "
        "reconstruction's own grid, an inverse crime",
    )


def _check_finite(losses: torch.Tensor, gradient_norm: torch.Tensor, batch: PatchBatch) -> None:
    if bool(losses.isfinite().all()) and bool(gradient_norm.isfinite()):
        return
    suspects = [
        f"{sample} at {patch.offset}"
        for sample, patch, loss in zip(batch.samples, batch.patches, losses.tolist(), strict=True)
        if not math.isfinite(loss)
    ] or [f"{s} at {p.offset}" for s, p in zip(batch.samples, batch.patches, strict=True)]
    msg = (
        f"loss and gradient must be finite, got loss {losses.mean().item()}, gradient norm "
        f"{gradient_norm.item()} in step {batch.step + 1} on sample {', '.join(suspects)} "
        f"(patch of {batch.patches[0].shape}, operator {batch.operator}); look at this sample, or "
        "lower learning_rate"
    )
    raise TrainingError(msg)
