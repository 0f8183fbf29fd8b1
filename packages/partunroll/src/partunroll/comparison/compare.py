"""compare: every row of a recipe, run or found again, in one table with a figure."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from normalfit.command_line import finite
from partunroll.comparison.comparison_data import prepare_data
from partunroll.comparison.comparison_figure import draw_comparison
from partunroll.comparison.comparison_folder import comparison_folder
from partunroll.comparison.comparison_run import ComparisonRun
from partunroll.comparison.comparison_table import ComparisonTable
from partunroll.comparison.job_runner import JobRunner
from partunroll.comparison.row_jobs import RowJobs
from partunroll.comparison.table_head import table_head
from partunroll.comparison.table_markdown import table_markdown
from partunroll.durable_file import written_durably
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.progress import Progress

    from partunroll.comparison.job_runner import Outcome
    from partunroll.comparison.recipe import Recipe
    from partunroll.comparison.row_job import Job


def compare(
    recipe: Recipe,
    output: Path,
    *,
    rows: Sequence[str] | None = None,
    jobs: int = 1,
    device: str = "auto",
    command: str | None = None,
    say: Callable[[str], object] | None = None,
    progress: Progress | None = None,
) -> ComparisonTable:
    """Run the rows of a recipe and write the table: Markdown, CSV, JSON, and a picture.

    Data are simulated and factors fitted once. Every row is trained and reconstructs in
    processes of its own, for every seed. What an earlier call with the same output has finished
    is used again where the part of the recipe, the data, the factors and the versions are the
    same, and a training that was stopped goes on exactly. A row that fails is shown as failed,
    with its reason, and tried again by the next call.

    Parameters
    ----------
    recipe
        What is compared.
    output
        A new folder, or that of an earlier call.
    rows
        Names of the rows to run, with the trainings that they use; None: all. Of the others
        the table shows what is there.
    jobs
        Processes at a time; more change the times that are measured.
    device
        'auto', 'cpu' or 'cuda'.
    command
        The command line, for the head of the table.
    say
        Told of every part that has ended, a line each.
    progress
        Where to show bars of simulations and fits.

    Raises
    ------
    InputError
        A name is no row's, files cannot be used, or the output is something else. What a row
        itself raises is shown in the table.
    """
    known = [row.name for row in recipe.rows]
    unknown = [name for name in rows or () if name not in known]
    if unknown:
        msg = f"rows must be among {', '.join(known)}, got {', '.join(unknown)}"
        raise InputError(msg)
    if jobs < 1:
        msg = f"jobs must be at least 1, got {jobs}"
        raise InputError(msg)
    with comparison_folder(output) as folder:
        data = prepare_data(recipe, folder / "data", device, progress)
        parts = RowJobs(recipe, data, folder, device)
        runner = JobRunner(jobs, partial(_tell, say))
        run = ComparisonRun(parts, runner, frozenset(rows or known))
        results = run.results(run.fit(progress))
        head = table_head(recipe, parts, command, results)
        table = ComparisonTable(recipe.title, head, tuple(data.columns), results)
        _write(table, folder)
        folders = run.folders(results)
        if folders:
            draw_comparison(recipe, data, results, folders, folder / "figure.png")
    return table


def _tell(say: Callable[[str], object] | None, job: Job, outcome: Outcome) -> None:
    if say is None:
        return
    what = {"train": "training", "reconstruct": "reconstruction"}[job.kind]
    end = "finished" if outcome.figures is not None else f"failed: {outcome.reason}"
    say(f"{job.row}, seed {job.seed}: {what} {end}")


def _write(table: ComparisonTable, folder: Path) -> None:
    """Write the table; files of an earlier call are replaced, each whole."""
    texts = {
        "table.md": table_markdown(table),
        "table.csv": table.as_csv(),
        "volumes.csv": table.volumes_as_csv(),
        "table.json": json.dumps(finite(table.as_json()), indent=2, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with written_durably(folder / name) as fresh:
            fresh.write_text(text, encoding="utf-8")
