"""planned_run: what a training would take, without a run that is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from partunroll.configuration.train_config import TrainConfig
from partunroll.network.prior_compilation import compilation_failures_named
from partunroll.ranks import joined_ranks
from partunroll.training.plan_measurement import measured_plan
from partunroll.training.run_directory import open_run
from partunroll.training.training_step import batch_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from partunroll.training.run_directory import RunDirectory
    from partunroll.training.training_plan import TrainingPlan


def planned_run(
    config: TrainConfig | None,
    factor_files: Sequence[Path],
    data: Path | None,
    output: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    allow_mismatch: bool = False,
    say: Callable[[str], None] | None = None,
) -> TrainingPlan:
    """Return the plan of what `train` would do with the same arguments; nothing is left on disk.

    Where it would make its own objects, one is made to measure with, in a temporary folder.

    Raises
    ------
    InputError, MismatchError
        As for `train`.
    """
    ranks = joined_ranks()
    shared: dict[str, Any] = {
        "progress": progress or Progress(disable=True),
        "allow_mismatch": allow_mismatch,
    }
    with tempfile.TemporaryDirectory() as folder:

        def opened() -> RunDirectory:
            if resume:
                return open_run(config, factor_files, data, output, resume=True, **shared)
            wanted = config or TrainConfig()
            one = wanted.made_objects.model_copy(update={"train": 1, "validation": 0})
            wanted = wanted.model_copy(update={"made_objects": one})
            path = Path(folder) / "run"
            return open_run(wanted, factor_files, data, path, resume=False, **shared)

        run = ranks.from_first(opened)
        if say is not None and ranks.is_first:
            for note in run.allowed:
                say(note)
        state = run.state(ranks.device(run.config.device))
        with compilation_failures_named():
            plan = measured_plan(run, state, ranks, lambda batch: batch_losses(state, batch))
        ranks.any(False)  # the first keeps its folder until all have read
        return plan
