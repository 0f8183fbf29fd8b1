"""learning_rate: a linear rise over the warm-up, and then a schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from partunroll.configuration.schedule_config import CosineSchedule, LinearSchedule, StepSchedule

if TYPE_CHECKING:
    from partunroll.configuration.schedule_config import ScheduleConfig
    from partunroll.configuration.train_config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of the step after `step` steps; a function of nothing else."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warmup * config.learning_rate * decay(config.schedule, step, config.steps)


def decay(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Return the share of the full learning rate after `step` of `steps` steps, in [0, 1]."""
    progress = step / steps
    if isinstance(schedule, CosineSchedule):
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))
    if isinstance(schedule, LinearSchedule):
        return schedule.final + (1 - schedule.final) * (1 - progress)
    if isinstance(schedule, StepSchedule):
        return schedule.factor ** (step // schedule.every)
    return 1.0
