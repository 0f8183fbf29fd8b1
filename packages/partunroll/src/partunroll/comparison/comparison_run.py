"""ComparisonRun: the rows of a recipe, trained and reconstructed, or found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from normalfit.errors import NormalfitError
from partunroll.comparison.job_runner import recorded, recorded_failure
from partunroll.comparison.row_figures import row_figures
from partunroll.comparison.row_results import NOT_RUN, RowResult, SeedResult
from partunroll.comparison.row_training import departs
from partunroll.errors import PartunrollError
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.progress import Progress

    from partunroll.comparison.job_runner import JobRunner
    from partunroll.comparison.recipe_row import RowSection
    from partunroll.comparison.row_job import ReconstructJob, TrainJob
    from partunroll.comparison.row_jobs import RowJobs


@dataclass(frozen=True)
class ComparisonRun:
    """The work of one call.

    Parameters
    ----------
    parts
        Makes the jobs.
    runner
        Runs them.
    wanted
        Names of the rows to run; of the others only what is there is taken.
    """

    parts: RowJobs
    runner: JobRunner
    wanted: frozenset[str]

    def fit(self, progress: Progress | None) -> dict[tuple[str, int], str]:
        """Fit the factors that the wanted rows need, where they are not there.

        Returns
        -------
        dict
            Why rows have none, by name and seed: what no fit allows fails the rows that need it.
        """
        recipe = self.parts.recipe
        reasons: dict[str, str] = {}  # by fit
        failed: dict[tuple[str, int], str] = {}
        for row in recipe.rows:
            for needed in self._networks(row) if row.name in self.wanted else ():
                name = recipe.factors_of(needed)
                if name not in reasons:
                    reasons[name] = self._fit(needed, progress)
                if reasons[name]:
                    failed |= dict.fromkeys(
                        ((row.name, seed) for seed in recipe.seeds_of(row)),
                        f"factors {name}: {reasons[name]}",
                    )
        return failed

    def _fit(self, row: RowSection, progress: Progress | None) -> str:
        """Fit, and return why it failed; nothing where it did not."""
        try:
            self.parts.fit(row, progress)
        except (NormalfitError, PartunrollError, MemoryError, RuntimeError) as error:
            return " ".join(f"{error}".split()) or type(error).__name__
        return ""

    def results(self, unfitted: Mapping[tuple[str, int], str]) -> tuple[RowResult, ...]:
        """Train, then reconstruct; return every shown row of the recipe.

        Parameters
        ----------
        unfitted
            Why rows have no factors, as `fit` returns it.
        """
        failed = {**self._train(), **unfitted}
        recipe = self.parts.recipe
        shown = [(row, seed) for row in recipe.rows if row.shown for seed in recipe.seeds_of(row)]
        jobs: list[ReconstructJob] = []
        for row, seed in shown:
            can_run = row.name in self.wanted and (row.name, seed) not in failed
            job = self._reconstruction(row, seed) if can_run else None
            if job is not None:
                jobs.append(job)
        for job, outcome in zip(jobs, self.runner.run(jobs), strict=True):
            if outcome.figures is None:
                failed[job.row, job.seed] = outcome.reason
        return tuple(
            RowResult(
                row.name,
                row.ours,
                departs(recipe, row),
                row.note,
                tuple(
                    self._seed_result(row, seed, failed.get((row.name, seed)))
                    for seed in recipe.seeds_of(row)
                ),
                self.parts.data.objects,
            )
            for row in recipe.rows
            if row.shown
        )

    def folders(self, results: tuple[RowResult, ...]) -> dict[str, Path]:
        """Return where the reconstructions of rows are, of the first seed that has them."""
        found = {}
        for result in results:
            row = self.parts.recipe.row(result.name)
            for seed in result.finished[:1]:
                job = self._reconstruction(row, seed.seed)
                if job is not None:
                    found[result.name] = job.folder
        return found

    def _train(self) -> dict[tuple[str, int], str]:
        """Run the trainings of the wanted rows; return why rows have none, by name and seed."""
        recipe = self.parts.recipe
        needing: dict[Path, list[RowSection]] = {}
        jobs: dict[Path, TrainJob] = {}
        for row in recipe.rows:
            for seed in recipe.seeds_of(row) if row.name in self.wanted else ():
                job = self.parts.training(row, seed)
                if job is not None:
                    jobs[job.folder] = job
                    needing.setdefault(job.folder, []).append(row)
        outcomes = dict(zip(jobs, self.runner.run(list(jobs.values())), strict=True))
        return {
            (row.name, jobs[folder].seed): _of_training(row, outcome.reason)
            for folder, outcome in outcomes.items()
            if outcome.figures is None
            for row in needing[folder]
        }

    def _reconstruction(self, row: RowSection, seed: int) -> ReconstructJob | None:
        """Return the reconstructions of a row; None while its network is not there."""
        training = self.parts.training(row, seed)
        if row.train is None and row.uses is None:
            return self.parts.reconstruction(row, seed, None)
        if training is None or recorded(training) is None:
            return None
        return self.parts.reconstruction(row, seed, training)

    def _seed_result(self, row: RowSection, seed: int, failed: str | None) -> SeedResult:
        if failed is not None:
            return SeedResult(seed, failed)
        job = self._reconstruction(row, seed)
        done = None if job is None else recorded(job)
        if job is None or done is None:
            return SeedResult(seed, self._earlier_failure(row, seed, job) or NOT_RUN)
        data, recipe = self.parts.data, self.parts.recipe
        samples = {c: [s.id for s in data.samples("test", c)] for c in data.columns}
        every = [name for names in samples.values() for name in names]
        figures = row_figures(job.folder, every, DataStore.open(data.tested), recipe.crop)
        volumes = {c: {name: figures[name] for name in names} for c, names in samples.items()}
        training = self.parts.training(row, seed) if row.method is None else None
        trained = None if training is None else recorded(training)
        return SeedResult(
            seed, "", volumes, None if trained is None else trained.figures, done.figures
        )

    def _earlier_failure(
        self, row: RowSection, seed: int, job: ReconstructJob | None
    ) -> str | None:
        """Return why a row has failed in an earlier call; None where it has not."""
        if job is not None:
            return recorded_failure(job)
        training = self.parts.training(row, seed)
        reason = None if training is None else recorded_failure(training)
        return None if reason is None else _of_training(row, reason)

    def _networks(self, row: RowSection) -> list[RowSection]:
        """Return the rows whose factors a row needs: its own, and those of the one it uses."""
        if row.uses is None:
            return [row] if row.train is not None else []
        used = self.parts.recipe.row(row.uses)
        return [used, row] if row.method is None else [used]


def _of_training(row: RowSection, reason: str) -> str:
    return f"training: {reason}" if row.uses is None else f"training of {row.uses}: {reason}"
