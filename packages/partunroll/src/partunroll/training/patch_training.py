"""train: patch-partitioned training of a network (paper, eq. 13; design §4)."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.progress import Progress

from partunroll.network.prior_compilation import compilation_failures_named
from partunroll.ranks import joined_ranks, lost_ranks_named
from partunroll.store.data_store import DataStore
from partunroll.training.failed_run import kept_on_error, removed_if_refused
from partunroll.training.patch_loader import dead_workers_named, patch_batches
from partunroll.training.plan_measurement import check_plan
from partunroll.training.random_state import own_random_numbers
from partunroll.training.run_directory import open_run
from partunroll.training.run_lock import RunLock
from partunroll.training.run_logs import RunLogs
from partunroll.training.size_check import check_sizes
from partunroll.training.stop_signals import StopRequestedError, StopSignals
from partunroll.training.tensorboard_log import check_tensorboard
from partunroll.training.training_step import batch_losses, training_step
from partunroll.training.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from partunroll.configuration.train_config import TrainConfig
    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory
    from partunroll.training.training_plan import TrainingPlan
    from partunroll.training.training_state import TrainingState


@dataclass(frozen=True)
class TrainResult:
    """What a training run ended with.

    Parameters
    ----------
    output
        Its directory, as `RunDirectory` describes it.
    step, steps
        Steps taken, of the steps configured.
    loss
        Loss of the last step; None if this call took none.
    best
        Figures of the best validation, by PSNR, with its ``step``.
    seconds
        Time of this call.
    stop_reason
        'finished', 'early_stop', 'stop_after', or the name of a signal.
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
    on_plan: Callable[[TrainingPlan], None] | None = None,
) -> TrainResult:
    """Train a network on patches of a data store, or of objects made for it.

    Each step applies the network to batches of patches with restricted factors. No step applies
    an operator to a whole volume (but with ``normal: full``); validation does. The same seed,
    machine and thread count give the same weights bit for bit on the CPU, also when a run is
    resumed, however it ended. SIGTERM and SIGINT end it after the step that is being taken; a
    validation is given up, and made when the run is resumed.

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
    allow_mismatch
        As for `match_factor_files`; what was allowed stands in ``config.yaml`` of a new run, in
        ``log.jsonl`` and in the notes.
    say
        Told what was allowed, before the first step.
    on_plan
        Called with the plan before the first step, which is then refused if it does not fit;
        None: nothing is measured.

    Raises
    ------
    InputError
        The output exists, there is nothing to resume, another process trains in it, the run had
        another configuration, the data do not fit the configuration, the batch cannot be
        divided among the processes, or the memory does not suffice.
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
        return open_run(
            config,
            factor_files,
            data,
            output,
            resume=resume,
            progress=bars,
            allow_mismatch=allow_mismatch,
            hold=run_lock.take,
        )

    with RunLock() as run_lock:
        run = ranks.from_first(opened)
        _check_settings(run.config, ranks)
        if say is not None and ranks.is_first:
            for note in run.allowed:
                say(note)
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
    with removed_if_refused(run, ranks):
        check_sizes(config, device, ranks)
    state = run.state(device)
    if ranks.is_first:
        run.record_session(state.step)
    goal = config.steps if stop_after is None else min(config.steps, stop_after)
    task = progress.add_task("train", total=config.steps, completed=state.step)
    loss = None
    validated = not state.validation_is_due
    with (
        closing(patch_batches(run, device, state.step, goal, ranks)) as batches,
        own_random_numbers(config.seed, device, state.random),
        RunLogs(run, state.step, ranks, validated=validated) as log,
        lost_ranks_named(ranks),
        dead_workers_named(config),
        kept_on_error(run, state, ranks),
        compilation_failures_named(),
        StopSignals() as signals,
    ):
        if run.allowed:
            log.write(state.step, allowed=list(run.allowed))
        if on_plan is not None:
            check_plan(run, state, ranks, partial(batch_losses, state), on_plan)
        network = ranks.parallel(state.network)
        while (stop_reason := _stop_reason(state, goal, signals, ranks)) is None:
            if state.validation_is_due:
                _validate(run, state, log, signals, ranks)
                continue
            own = itertools.islice(batches, config.accumulation)
            figures = training_step(state, own, network, ranks)
            loss = figures["loss"]
            log.write(state.step, **figures)
            description = f"train, loss {loss:.2e}"
            progress.update(task, completed=state.step, description=description)
            if state.save_is_due:
                log.sync()
                _save_last(run, state, ranks)
        if state.saved_step != state.step:
            _save_last(run, state, ranks)
    return TrainResult(
        run.path,
        state.step,
        config.steps,
        loss,
        state.best,
        time.perf_counter() - started,
        stop_reason,
        _notes(run, state),
    )


def _stop_reason(state: TrainingState, goal: int, signals: StopSignals, ranks: Ranks) -> str | None:
    """Return why the run ends here, the same in all processes; None where it does not."""
    if ranks.any(bool(signals.received)):
        return next(name for name in ranks.joined([signals.received]) if name)
    if state.validation_is_due:
        return None
    if state.step >= state.config.steps:
        return "finished"
    if state.has_stalled:
        return "early_stop"
    return "stop_after" if state.step >= goal else None


def _validate(
    run: RunDirectory, state: TrainingState, log: RunLogs, signals: StopSignals, ranks: Ranks
) -> None:
    """Validate the network as it is and keep it if it is the best; a signal gives it up."""

    def metrics_or_none() -> dict[str, float] | None:
        try:
            with signals.interruptible():
                return validate(
                    state.evaluated,
                    run.data_path,
                    run.operators,
                    run.config,
                    state.device,
                    partial(log.show, state.step),
                )
        except StopRequestedError:
            return None

    metrics = ranks.from_first(metrics_or_none)
    if metrics is None:
        return
    log.write(state.step, validation=metrics)
    if state.validated(metrics) and ranks.is_first:
        state.save_best(run.best_path)
    log.sync()
    _save_last(run, state, ranks)


def _save_last(run: RunDirectory, state: TrainingState, ranks: Ranks) -> None:
    if ranks.is_first:
        state.save_last(run.last_path)


def _notes(run: RunDirectory, state: TrainingState) -> tuple[str, ...]:
    notes = list(run.allowed)
    samples = DataStore.open(run.data_path).samples
    guilty = sum(bool(sample.inverse_crime) for sample in samples)
    if guilty:
        notes.append(
            f"{guilty} of the {len(samples)} samples of the data were simulated on the "
            "reconstruction's own grid, an inverse crime"
        )
    if state.metrics and not state.best:
        notes.append(
            "no validation gave a finite PSNR, so there is no best.pt: whole volumes diverge where "
            "patches do not; lower network.initial_step_size or learning_rate"
        )
    return tuple(notes)
