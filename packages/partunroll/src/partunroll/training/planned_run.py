"""planned_run: what a training would take, without a run that is left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from partunroll.configuration.train_config import TrainConfig, load_config
from partunroll.network.prior_compilation import compilation_failures_named
from partunroll.ranks import joined_ranks
from partunroll.training.plan_measurement import measured_plan
from partunroll.training.run_directory import MADE_DATA, check_output, open_run
from partunroll.training.size_check import check_sizes
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
            wanted = config or TrainConfig()
            if resume:
                check_output(output, data, resume=True)
                if data is not None or (output / MADE_DATA).exists():
                    return open_run(config, factor_files, data, output, resume=True, **shared)
                wanted = config or load_config(output / "config.yaml")  # killed before it had data
            one = wanted.made_objects.model_copy(update={"train": 1, "validation": 0})
            wanted = wanted.model_copy(update={"made_objects": one})
            path = Path(folder) / "run"
            return open_run(wanted, factor_files, data, path, resume=False, **shared)

        run = ranks.from_first(opened)
        if say is not None and ranks.is_first:
            for note in run.allowed:
                say(note)
        device = ranks.device(run.config.device)
        check_sizes(run.config, device, ranks)
        state = run.state(device)
        with compilation_failures_named():
            plan = measured_plan(run, state, ranks, lambda batch: batch_losses(state, batch))
        ranks.any(False)  # the first keeps its folder until all have read
        return plan
