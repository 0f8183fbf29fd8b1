"""TrainJob and ReconstructJob: what one process of a comparison does, as a JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter

from partunroll.comparison.recipe_row import ReconstructSection
from partunroll.configuration.train_config import TrainConfig

FINISHED, FAILED, LOG = "finished", "failed.json", "log.txt"  # in the folder of a job


class _Job(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path  # of what it makes and records
    row: str
    seed: int
    device: str
    factors: dict[str, Path]  # by operator; empty where the row needs none


class TrainJob(_Job):
    """Train a network into ``folder/run``."""

    kind: Literal["train"] = "train"
    config: TrainConfig
    seconds: float | None  # a budget of time, in the place of the configuration's steps
    data: Path

    @property
    def run(self) -> Path:
        """Directory of the training run."""
        return self.folder / "run"


class ReconstructJob(_Job):
    """Reconstruct every test sample into ``folder``."""

    kind: Literal["reconstruct"] = "reconstruct"
    method: dict[str, object] | None  # None: the network of the checkpoint
    candidates: dict[str, list[object]]  # by option; the best is chosen for every column
    checkpoint: Path | None
    options: ReconstructSection
    crop: int | float | None  # the part of validation samples that is chosen by
    columns: dict[str, tuple[str, ...]]  # operators by column
    trained: Path  # with the validation samples
    tested: Path


Job = TrainJob | ReconstructJob
JOBS = TypeAdapter[Job](Annotated[Job, Discriminator("kind")])
