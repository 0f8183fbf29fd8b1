"""train: patch-partitioned training of a network (paper, eq. 13; design §4)."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from normalfit.errors import NormalfitError
from partunroll.data_store import DataStore
from partunroll.errors import InputError, PartunrollError, RankError, TrainingError
from partunroll.patch_dataset import PatchDataset
from partunroll.plan_measurement import measured_plan
from partunroll.ranks import joined_ranks
from partunroll.run_directory import open_run
from partunroll.run_logs import RunLogs
from partunroll.tensorboard_log import check_tensorboard
from partunroll.training_step import batch_losses, training_step
from partunroll.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from partunroll.config import TrainConfig
    from partunroll.patch_batch import PatchBatch
    from partunroll.ranks import Ranks
    from partunroll.run_directory import RunDirectory
    from partunroll.training_plan import TrainingPlan
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
        What the user should know about the data, a sentence each.
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
    on_plan: Callable[[TrainingPlan], None] | None = None,
) -> TrainResult:
    """Train a network on patches of a data store, or of objects made for it.

    Each step applies the network to a batch of patches with restricted factors. No step applies
    an operator to a whole volume; validation does. The same seed, machine and thread count give
    the same weights bit for bit on the CPU, also when a run is resumed.

    Processes that torchrun has started train one run together: each takes its part of every
    batch, the first validates and writes. Their number changes the result by rounding only, and
    a run may be resumed with another.

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
    on_plan
        Called with the plan before the first step, which is then refused if it does not fit;
        None: nothing is measured.

    Raises
    ------
    InputError
        The output exists, there is nothing to resume, the run had another configuration, the
        data do not fit the configuration, the batch cannot be divided among the processes, or
        the memory does not suffice.
    MismatchError
        Factor files and operators do not belong together, or are not those of the run.
    TrainingError
        A loss or gradient is not finite; step, samples and patches are named.
    """
    ranks = joined_ranks()
    bars = progress if ranks.is_first and progress else Progress(disable=True)

    def opened() -> RunDirectory:
        if config is not None:
            _check_settings(config, ranks)
        return open_run(config, factor_files, data, output, resume=resume, progress=bars)

    run = ranks.from_first(opened)
    _check_settings(run.config, ranks)
    return _train(run, ranks, bars, stop_after, on_plan)


def _check_settings(config: TrainConfig, ranks: Ranks) -> None:
    ranks.share(config.batch)
    if config.tensorboard:
        check_tensorboard()


def _train(
    run: RunDirectory,
    ranks: Ranks,
    progress: Progress,
    stop_after: int | None,
    on_plan: Callable[[TrainingPlan], None] | None,
) -> TrainResult:
    started = time.perf_counter()
    config, device = run.config, ranks.device(run.config.device)
    state = run.state(device)

    def save(path: Path, *, resumable: bool) -> None:
        if ranks.is_first:
            state.save(path, resumable=resumable)

    def validated() -> dict[str, float]:
        show = partial(log.show, state.step)
        return validate(state.network, run.data_path, run.operators, config, device, show)

    last_step = min(config.steps, stop_after or config.steps)
    task = progress.add_task("train", total=config.steps, completed=state.step)
    loss, clock = None, time.perf_counter()
    with _kept_on_error(run, state, ranks), RunLogs(run, state.step, ranks) as log:
        if on_plan is not None:
            _plan(run, state, ranks, on_plan)
        network = ranks.parallel(state.network)
        for batch in _batches(run, device, state.step, last_step, ranks):
            waited = time.perf_counter() - clock
            figures = training_step(state, batch.to(device), network, ranks)
            loss = figures["loss"]
            log.write(state.step, operator=batch.operator, **figures, data_seconds=waited)
            description = f"train, loss {loss:.2e}"
            progress.update(task, completed=state.step, description=description)
            if state.step % config.validation.every == 0 or state.step == config.steps:
                save(run.last_path, resumable=True)
                metrics = ranks.from_first(validated)
                log.write(state.step, validation=metrics)
                if state.validated(metrics):
                    save(run.best_path, resumable=False)
                save(run.last_path, resumable=True)
            clock = time.perf_counter()
    if state.step < config.steps:  # the last step has been saved with its validation
        save(run.last_path, resumable=True)
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


def _plan(
    run: RunDirectory,
    state: TrainingState,
    ranks: Ranks,
    on_plan: Callable[[TrainingPlan], None],
) -> None:
    """Measure the plan of a run, hand it out, and refuse what does not fit."""
    plan = measured_plan(run, state, ranks, lambda batch: batch_losses(state.network, batch))
    if ranks.is_first:
        on_plan(plan)
    problems = [problem for problem in ranks.joined([plan.problem]) if problem]
    if problems:
        raise (InputError if ranks.is_first else RankError)(problems[0])


def _batches(
    run: RunDirectory, device: torch.device, first: int, last: int, ranks: Ranks
) -> Iterable[PatchBatch]:
    """Return the batches of the steps `first` … `last` - 1, made here or by workers."""
    workers = run.config.num_workers
    where = torch.device("cpu") if workers else device  # GPU tensors do not cross processes
    dataset = PatchDataset(run.data_path, run.operators, run.config, where, ranks)
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=None,  # an item is a batch
        sampler=range(first, last),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # zarr and numba do not fork
    )


@contextmanager
def _kept_on_error(run: RunDirectory, state: TrainingState, ranks: Ranks) -> Iterator[None]:
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
        if ranks.is_first and state.step > first:
            state.save(run.last_path, resumable=True)
        elif ranks.is_first and run.is_new:
            shutil.rmtree(run.path)
        raise


def _notes(run: RunDirectory) -> tuple[str, ...]:
    samples = DataStore.open(run.data_path).samples
    guilty = sum(bool(sample.inverse_crime) for sample in samples)
    if not guilty:
        return ()
    return (
        f"{guilty} of the {len(samples)} samples of the data were simulated on the "
        "reconstruction's own grid, an inverse crime",
    )
