"""TrainingPlan: what a training will take, said before it starts, and refused if it cannot fit."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from partunroll.errors import InputError
from partunroll.training.memory_knobs import remedy

if TYPE_CHECKING:
    from partunroll.configuration.train_config import TrainConfig

_TOO_LONG = 10**9  # seconds that are not worth a date


@dataclass(frozen=True)
class TrainingPlan:
    """Memory and time of a training, per process.

    Parameters
    ----------
    config
        Resolved configuration.
    device
        Where it computes.
    processes, local_processes
        That train together, and those of them that share this machine's memory.
    parameters
        Numbers that are learned.
    weights, gradients, optimizer, average
        Bytes of the weights, of their gradients, of Adam's two moments, and of averaged weights.
    activations
        Bytes that the forward pass keeps for the backward pass, measured on one step.
    working
        Bytes that come and go beyond them, at the step's peak; measured.
    data
        Bytes of volumes and factors that are kept in memory, and of one batch.
    held
        What of all this was there already when the free memory was measured.
    free
        Bytes that were free then; None where it cannot be told.
    step_seconds, data_seconds
        Time of a step's forward and backward passes, and of making its batches; None where
        the pass was ended because it did not fit.
    steps_left
        Steps still to take.
    """

    config: TrainConfig
    device: str
    processes: int
    local_processes: int
    parameters: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    working: int
    data: int
    held: int
    free: int | None
    step_seconds: float | None
    data_seconds: float
    steps_left: int

    @property
    def total(self) -> int:
        """Bytes of everything, in one process."""
        return sum(self._parts.values())

    @property
    def missing(self) -> int:
        """Bytes that all processes of a machine, or the one of a GPU, still have to get."""
        sharing = self.local_processes if self.device == "cpu" else 1
        return sharing * max(0, self.total - self.held)

    @property
    def fits(self) -> bool:
        """Whether the free memory suffices."""
        whole = self.step_seconds is not None
        return whole and (self.free is None or self.missing <= self.free)

    @property
    def seconds_per_step(self) -> float | None:
        """Time of a step; workers make batches meanwhile."""
        if self.step_seconds is None:
            return None
        workers = self.config.num_workers
        if workers:
            return max(self.step_seconds, self.data_seconds / workers)
        return self.step_seconds + self.data_seconds

    @property
    def seconds_left(self) -> float | None:
        """Time of all steps that are left, without validations."""
        each = self.seconds_per_step
        return None if each is None else each * self.steps_left

    @property
    def _parts(self) -> dict[str, int]:
        names = ("weights", "gradients", "optimizer", "average", "activations", "working", "data")
        parts = {name: getattr(self, name) for name in names}
        return {name: size for name, size in parts.items() if size or name != "average"}

    def __str__(self) -> str:
        patch = self.config.patch_shape
        shape = " × ".join(map(str, patch if isinstance(patch, tuple) else (patch,)))
        processes = f" by {self.processes} processes" if self.processes > 1 else ""
        parts = ", ".join(f"{name} {_bytes(size)}" for name, size in self._parts.items())
        free = "unknown" if self.free is None else _bytes(self.free)
        least = "" if self.step_seconds is not None else "at least "
        patches = self.config.batch * self.config.accumulation
        lines = [
            f"plan: {self.parameters:,} parameters; {patches} patches of {shape} a step"
            f"{processes}, {self.steps_left} steps, on {self.device}",
            f"memory: {least}{_bytes(self.total)} ({parts}); free besides what is held: {free}",
        ]
        if self.seconds_per_step is not None and self.seconds_left is not None:
            rate = 1 / max(self.seconds_per_step, 1e-9)
            lines.append(
                f"time: {self.seconds_per_step:.3g} s a step ({rate:.3g} steps per second; its "
                f"batch takes {self.data_seconds:.2g} s), {_duration(self.seconds_left)} without "
                "validations"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        figures = {k: v for k, v in asdict(self).items() if k != "config"}
        return figures | {
            "total": self.total,
            "fits": self.fits,
            "seconds_per_step": self.seconds_per_step,
            "seconds_left": self.seconds_left,
        }

    @property
    def problem(self) -> str | None:
        """Why it does not fit: what takes the memory, and what makes that less; None if it does."""
        if self.fits:
            return None
        parts = ", ".join(f"{name} {_bytes(size)}" for name, size in self._parts.items())
        least = "" if self.step_seconds is not None else "at least "
        shared = self.local_processes > 1 and self.device == "cpu"
        each = f" in each of {self.local_processes} processes" if shared else ""
        free = "too little" if self.free is None else f"{_bytes(self.free)} besides what is held"
        return (
            f"memory must suffice for the training, which needs {least}{_bytes(self.total)}{each} "
            f"({parts}), got {free} on {self.device}; {self._remedy()}"
        )

    def check(self) -> None:
        """Refuse what does not fit.

        Raises
        ------
        InputError
            The memory does not suffice, with `problem`.
        """
        if self.problem is not None:
            raise InputError(self.problem)

    def _remedy(self) -> str:
        """Return what makes the largest part smaller."""
        largest = {
            "network": self.weights + self.gradients + self.optimizer + self.average,
            "activations": self.activations + self.working,
            "data": self.data if self.step_seconds is not None else 0,  # else nobody knows
        }
        what = max(largest, key=lambda name: largest[name])
        return remedy(what, self.config, self.device, self.processes)


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _duration(seconds: float) -> str:
    """Return a time, such as ``2 days, 3:04:05``."""
    if seconds > _TOO_LONG:
        return f"{seconds / 86400:.0f} days"
    return str(dt.timedelta(seconds=round(seconds)))
