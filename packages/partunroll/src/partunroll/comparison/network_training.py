"""train_row: the training of a row, in the process of its own that `row_process` is."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from normalfit.devices import resolve_device
from partunroll.comparison.circumstances import circumstances
from partunroll.comparison.peak_memory import peak_memory
from partunroll.comparison.row_job import FINISHED
from partunroll.completed_parts import CompletedParts
from partunroll.training.patch_training import train
from partunroll.training.planned_run import planned_run
from partunroll.training.run_log import read_log

if TYPE_CHECKING:
    from partunroll.comparison.row_job import TrainJob
    from partunroll.configuration.train_config import TrainConfig

_ENDS = ("finished", "early_stop")
_LEAST_STEPS = 10  # of a budget of seconds: fewer teach nothing  # our choice
_PLANS = 3  # measurements of a step, the fastest of which counts: the first ones warm up


def train_row(job: TrainJob) -> str | None:
    """Train, or go on with a training that was stopped; record what it took.

    Returns
    -------
    str or None
        The signal that stopped it; None where it is finished.
    """
    parts = CompletedParts(job.folder)
    config = _config(job, parts)
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
        files = list(job.factors.values())
        plans = [planned_run(job.config, files, job.data, job.run) for _ in range(_PLANS)]
        step = min(plan.seconds_per_step or job.seconds for plan in plans)
        found = {"steps": max(_LEAST_STEPS, int(job.seconds / step)), "seconds_per_step": step}
        parts.write("steps", found)
    return job.config.model_copy(update={"steps": found["steps"]})


def _figures(
    job: TrainJob, parts: CompletedParts, best: dict[str, float], steps: int
) -> dict[str, Any]:
    lines = [line for line in read_log(job.run / "log.jsonl") if "loss" in line]
    times = [line["seconds"] + line["data_seconds"] for line in lines]
    sessions = [session for name in _sessions(parts) if (session := parts.read(name))]
    return {
        "steps": len(lines),
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


def _sessions(parts: CompletedParts) -> list[str]:
    return sorted(path.stem for path in parts.folder.glob("session-*.json"))
