"""ScheduleConfig: how the learning rate goes on after its warm-up, as a part of the YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from partunroll.configuration.config_section import Section


class CosineSchedule(Section):
    """Half a cosine down to a share of the learning rate."""

    kind: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1)  # share of learning_rate at the end


class LinearSchedule(Section):
    """A straight line down to a share of the learning rate."""

    kind: Literal["linear"] = "linear"
    final: float = Field(0.0, ge=0, le=1)


class StepSchedule(Section):
    """Steps down by a factor."""

    kind: Literal["step"] = "step"
    every: int = Field(ge=1)  # steps between them
    factor: float = Field(0.5, gt=0, le=1)


class ConstantSchedule(Section):
    """No change."""

    kind: Literal["constant"] = "constant"


def _from_name(schedule: object) -> Any:  # noqa: ANN401 - what pydantic is to judge
    """Return ``{kind: name}`` of a name alone, and cosine where a mapping has no kind."""
    if isinstance(schedule, str):
        return {"kind": schedule}
    return {"kind": "cosine", **schedule} if isinstance(schedule, Mapping) else schedule


ScheduleConfig = Annotated[
    CosineSchedule | LinearSchedule | StepSchedule | ConstantSchedule,
    Discriminator("kind"),
    BeforeValidator(_from_name),
]
