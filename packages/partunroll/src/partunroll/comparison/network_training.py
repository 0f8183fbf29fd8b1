"""train_row: the training of a row, in the process of its own that `row_process` is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import torch

from normalfit.devices import resolve_device
from partunroll.comparison.circumstances import circumstances
from partunroll.comparison.peak_memory import peak_memory
from partunroll.comparison.row_job import FINISHED
from partunroll.completed_parts import CompletedParts
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log

if TYPE_CHECKING:
    from partunroll.comparison.row_job import TrainJob
    from partunroll.configuration.train_config import TrainConfig

_ENDS = ("finished", "early_stop")
_LEAST_STEPS = 10  # of a budget of seconds: fewer teach nothing  # our choice
# steps that are measured for it, of which the first ones read the data  # our choice
_TRIED, _WARM_UP = 24, 4
_NEVER = 10**9


class _StoppedError(Exception):
    """A signal came while the steps of a budget were counted; it is named."""


def train_row(job: TrainJob) -> str | None:
    """Train, or go on with a training that was stopped; record what it took.

    Returns
    -------
    str or None
        The signal that stopped it; None where it is finished.
    """
    parts = CompletedParts(job.folder)
    try:
        config = _config(job, parts)
    except _StoppedError as stopped:
        return str(stopped)
    resume = (job.run / "config.yaml").is_file()
    files = list(job.factors.values())
    result = train(config, files, job.data, job.run, resume=resume)
    peak = peak_memory(resolve_device(job.device))
    parts.write(f"session-{len(_sessions(parts))}", {"peak_bytes": peak, "seconds": result.seconds})
    if result.stop_reason not in _ENDS:
        return result.stop_reason
    parts.write(FINISHED, _figures(job, parts, dict(result.best), config.steps))
    return None


def _config(job: TrainJob, parts: CompletedParts) -> TrainConfig:
    """Return the configuration with the steps that the budget of seconds allows."""
    if job.seconds is None:
        return job.config
    found = parts.read("steps")
    if found is None:
        step = _seconds_per_step(job)
        found = {"steps": max(_LEAST_STEPS, int(job.seconds / step)), "seconds_per_step": step}
        parts.write("steps", found)
    return job.config.model_copy(update={"steps": found["steps"]})


def _seconds_per_step(job: TrainJob) -> float:
    """Return the mean time of the first steps of a training that is thrown away.

    Passes that are only planned are up to a third quicker than those of a training.
    """
    seldom = job.config.validation.model_copy(update={"every": _NEVER})
    config = job.config.model_copy(update={"steps": _NEVER, "validation": seldom})
    job.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        run = Path(folder) / "run"
        result = train(config, list(job.factors.values()), job.data, run, stop_after=_TRIED)
        if result.stop_reason != "stop_after":
            raise _StoppedError(result.stop_reason)
        times = _step_times(run)
    return fmean(times[_WARM_UP:])


def _figures(
    job: TrainJob, parts: CompletedParts, best: dict[str, float], steps: int
) -> dict[str, Any]:
    times = _step_times(job.run)
    sessions = [session for name in _sessions(parts) if (session := parts.read(name))]
    return {
        "steps": len(times),
        "steps_planned": steps,
        "training_seconds": sum(times),  # of the steps; also those of calls before a kill
        "seconds_per_step": median(times),
        "wall_seconds": sum(session["seconds"] for session in sessions),  # with validations
        "peak_bytes": max(session["peak_bytes"] for session in sessions),
        "best": best,
        "batch": job.config.batch * job.config.accumulation,
        "threads": torch.get_num_threads(),
        "made_with": circumstances(resolve_device(job.device)),
        "checkpoint": str(job.run / "best.pt"),
    }


def _step_times(run: Path) -> list[float]:
    lines = read_log(run / "log.jsonl")
    return [line["seconds"] + line["data_seconds"] for line in lines if "loss" in line]


def _sessions(parts: CompletedParts) -> list[str]:
    return sorted(path.stem for path in parts.folder.glob("session-*.json"))
