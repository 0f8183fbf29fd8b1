"""RowJobs: the jobs of a recipe's rows, each in a folder named after all that decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from normalfit.devices import resolve_device
from partunroll.comparison.comparison_factors import FittedFactors, fit_factors, fitted_before
from partunroll.comparison.content_key import content_key, file_digests
from partunroll.comparison.method_files import method_digests
from partunroll.comparison.row_job import ReconstructJob, TrainJob
from partunroll.comparison.row_training import training_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from partunroll.comparison.comparison_data import ComparisonData
    from partunroll.comparison.recipe import Recipe
    from partunroll.comparison.recipe_row import RowSection

_WHERE = {"device", "num_workers", "cache", "tensorboard", "checkpoints"}  # changes no weights


@dataclass(frozen=True)
class RowJobs:
    """Makes jobs.

    Parameters
    ----------
    recipe
        What is compared.
    data
        Its samples.
    folder
        Of the comparison.
    device
        'auto', 'cpu' or 'cuda'.
    """

    recipe: Recipe
    data: ComparisonData
    folder: Path
    device: str

    def fit(self, row: RowSection, progress: Progress | None = None) -> FittedFactors:
        """Return the factors that a row's network needs, fitted now if need be."""
        name = self.recipe.factors_of(row)
        fit, place = self.recipe.factors[name], self.folder / "factors" / name
        return fit_factors(fit, self.data.operators, place, self.device, progress)

    def training(self, row: RowSection, seed: int) -> TrainJob | None:
        """Return the training of a row, or of the row whose network it uses.

        None where the row needs none, or its factors are not there.
        """
        trained = row if row.uses is None else self.recipe.row(row.uses)
        if trained.train is None:
            return None
        factors = self.fitted(trained.factors)
        if factors is None:
            return None
        config = training_of(self.recipe, trained, seed, self.device)
        document = config.model_dump(mode="json", exclude=_WHERE)
        if self.recipe.budget.steps is None and "steps" not in trained.train:
            seconds, document["steps"] = self.recipe.budget.seconds, None
        else:
            seconds = None
        key = content_key(
            {
                "train": document,
                "seconds": seconds,
                "files": file_digests(document),
                "data": self.data.digests["trained"],
                "factors": factors.digests,
                "device": self._device_type,
            }
        )
        return TrainJob(
            folder=self._place(trained, seed) / f"training-{key}",
            row=trained.name,
            seed=seed,
            device=self.device,
            factors=dict(factors.files),
            config=config,
            seconds=seconds,
            data=self.data.trained,
        )

    def reconstruction(
        self, row: RowSection, seed: int, training: TrainJob | None
    ) -> ReconstructJob:
        """Return the reconstructions of a row; with `training` where it has or uses a network."""
        factors = None if training is None else self.fitted(self.recipe.factors_of(row))
        crop = self.recipe.crop if row.candidates else None
        options: dict[str, Any] = {
            "method": row.document,
            "candidates": row.candidates,
            "options": row.reconstruct.model_dump(mode="json"),
            "columns": dict(self.data.columns),
        }
        checkpoint = None if training is None else training.run / "best.pt"
        key = content_key(
            {
                **options,
                **({"crop": crop} if crop is not None else {}),
                "files": method_digests(row),
                "training": None if training is None else training.folder.name,
                # a training that is removed and done again makes other weights
                "weights": list(file_digests(checkpoint and str(checkpoint)).values()),
                "factors": None if factors is None else factors.digests,
                "data": self.data.digests,
                "seed": seed,
                "device": self._device_type,
            }
        )
        return ReconstructJob(
            folder=self._place(row, seed) / f"result-{key}",
            row=row.name,
            seed=seed,
            device=self.device,
            factors={} if factors is None else dict(factors.files),
            checkpoint=checkpoint,
            trained=self.data.trained,
            tested=self.data.tested,
            crop=crop,
            **options,
        )

    def fitted(self, name: str) -> FittedFactors | None:
        """Return the factors of a fit; None where they are not all there."""
        place = self.folder / "factors" / name
        return fitted_before(self.recipe.factors[name], self.data.operators, place)

    @property
    def _device_type(self) -> str:
        return resolve_device(self.device).type

    def _place(self, row: RowSection, seed: int) -> Path:
        return self.folder / "rows" / row.folder / f"seed-{seed}"
