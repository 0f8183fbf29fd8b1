"""train: patch-partitioned training of a network (paper, eq. 13; design §4)."""

from __future__ import annotations

import itertools
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import Progress

from normalfit.devices import resolve_device
from normalfit.errors import NormalfitError
from partunroll.data_store import DataStore
from partunroll.errors import PartunrollError, TrainingError
from partunroll.patch_loader import patch_batches
from partunroll.prior_compilation import compilation_failures_named
from partunroll.random_state import own_random_numbers
from partunroll.run_directory import open_run
from partunroll.run_log import RunLog
from partunroll.stop_signals import StopRequestedError, StopSignals
from partunroll.training_step import training_step
from partunroll.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from partunroll.config import TrainConfig
    from partunroll.run_directory import RunDirectory
    from partunroll.training_state import TrainingState


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
) -> TrainResult:
    """Train a network on patches of a data store, or of objects made for it.

    Each step applies the network to batches of patches with restricted factors. No step applies
    an operator to a whole volume (but with ``normal: full``); validation does. The same seed,
    machine and thread count give the same weights bit for bit on the CPU, also when a run is
    resumed, however it ended. SIGTERM and SIGINT end it after the step that is being taken; a
    validation is given up, and made when the run is resumed.

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
    goal = min(config.steps, stop_after or config.steps)
    task = progress.add_task("train", total=config.steps, completed=state.step)
    batches = patch_batches(run, device, state.step, goal)
    loss = None
    with (
        own_random_numbers(config.seed, device, state.random),
        RunLog(run.log_path, state.step, validated=not state.validation_is_due) as log,
        _kept_on_error(run, state),
        compilation_failures_named(),
        StopSignals() as signals,
    ):
        if run.allowed:
            log.write(state.step, allowed=list(run.allowed))
        while (stop_reason := _stop_reason(state, goal, signals)) is None:
            if state.validation_is_due:
                _validate(run, state, log, signals)
                continue
            figures = training_step(state, itertools.islice(batches, config.accumulation))
            loss = figures["loss"]
            log.write(state.step, **figures)
            description = f"train, loss {loss:.2e}"
            progress.update(task, completed=state.step, description=description)
            if state.save_is_due:
                log.sync()
                state.save_last(run.last_path)
        if state.saved_step != state.step:
            state.save_last(run.last_path)
    return TrainResult(
        run.path,
        state.step,
        config.steps,
        loss,
        state.best,
        time.perf_counter() - started,
        stop_reason,
        _notes(run),
    )


def _stop_reason(state: TrainingState, goal: int, signals: StopSignals) -> str | None:
    """Return why the run ends here; None where it does not."""
    if signals.received:
        return signals.received
    if state.validation_is_due:
        return None
    if state.step >= state.config.steps:
        return "finished"
    if state.has_stalled:
        return "early_stop"
    return "stop_after" if state.step >= goal else None


def _validate(run: RunDirectory, state: TrainingState, log: RunLog, signals: StopSignals) -> None:
    """Validate the network as it is and keep it if it is the best; a signal gives it up."""
    try:
        with signals.interruptible():
            metrics = validate(
                state.evaluated, run.data_path, run.operators, run.config, state.device
            )
    except StopRequestedError:
        return
    log.write(state.step, validation=metrics)
    if state.validated(metrics):
        state.save_best(run.best_path)
    log.sync()
    state.save_last(run.last_path)


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
            state.save_last(run.last_path)
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
