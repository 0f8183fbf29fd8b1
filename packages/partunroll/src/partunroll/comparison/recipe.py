"""Recipe: what a comparison compares, and on what: data, operators, fits, seeds, budget, rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from partunroll.comparison.recipe_data import DataSection
from partunroll.comparison.recipe_row import RowSection, needs_network
from partunroll.configuration.config_section import Count, Section, Seed

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Share = Annotated[float, Field(gt=0, le=1)]


class FitSection(Section):
    """Options of `normalfit fit`; those left out are its defaults."""

    model: str | None = None
    method: Literal["least-squares", "adam", "direct"] = "least-squares"
    probes: Count | None = None
    batch: Count | None = None
    seed: Seed = 0
    terms: Count | None = None
    tolerance: float | None = Field(None, ge=0)
    boundary: str | tuple[str, ...] | None = None
    lags: Count | tuple[Count, ...] | None = None
    windows: Count | tuple[Count, ...] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return arguments of `fit_to_file`: those that were given, and the method."""
        return {"method": self.method, **self.model_dump(exclude_unset=True, exclude_none=True)}


class BudgetSection(Section):
    """What every trained row gets: steps, or seconds of training steps on this machine."""

    steps: Count | None = None
    seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> BudgetSection:
        if (self.steps is None) == (self.seconds is None):
            msg = "one of steps and seconds must be given"
            raise ValueError(msg)
        return self

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.steps:,} steps"
        return f"{self.seconds:g} s of steps"


class FigureSection(Section):
    """What the figure shows; what is left out is found in the reference."""

    column: str | None = None  # None: the first
    sample: Annotated[int, Field(ge=0)] = 0  # of the column's test samples
    axis: Literal[0, 1, 2] = 0  # across the slice
    index: Annotated[int, Field(ge=0)] | None = None  # None: the middle
    zoom: tuple[int, int, Count] | None = None  # first row and column, and side, in voxels
    rows: tuple[str, ...] | None = None  # None: all


class Recipe(Section):
    """A comparison, complete and checked."""

    title: str = "Comparison"
    data: DataSection
    # YAML files relative to the recipe, or documents; None: those of the data store
    operators: dict[_Name, str | dict[str, JsonValue]] | None = None
    columns: dict[str, str] | None = None  # title: pattern of operators' names; None: each one
    factors: dict[_Name, FitSection] = Field(default_factory=lambda: {"default": FitSection()})
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    crop: Count | Share | None = None  # central voxels per axis, or their share; None: all
    budget: BudgetSection
    train: dict[str, JsonValue] = Field(default_factory=dict)  # what all trained rows share
    rows: tuple[RowSection, ...] = Field(min_length=1)
    figure: FigureSection = FigureSection()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        problems = [*self._data_problems(), *self._training_problems(), *self._row_problems()]
        if len(set(self.seeds)) != len(self.seeds):
            problems.append(f"seeds must differ, got {list(self.seeds)}")
        names = [row.name for row in self.rows]
        unknown = [name for name in self.figure.rows or () if name not in names]
        problems += [f"figure.rows must name rows, got {name!r}" for name in unknown]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def ours(self) -> RowSection | None:
        """The row that differences are taken to."""
        return next((row for row in self.rows if row.ours), None)

    def row(self, name: str) -> RowSection:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)

    def factors_of(self, row: RowSection) -> str:
        """Return the name of a row's fit: its own, else that of the row whose network it uses."""
        if row.uses is None or "factors" in row.model_fields_set:
            return row.factors
        return self.row(row.uses).factors

    def seeds_of(self, row: RowSection) -> tuple[int, ...]:
        """Return the seeds that a row is run for: one where nothing depends on it."""
        return self.seeds if row.runs_every_seed() else self.seeds[:1]

    def _data_problems(self) -> list[str]:
        if (self.operators is None) != (self.data.store is not None):
            return ["operators must be given for data that are simulated, and not for a store"]
        if self.operators is not None and not self.operators:
            return ["operators must be at least one, got none"]
        return []

    def _training_problems(self) -> list[str]:
        """Name keys of trainings that another part of the recipe, or of the command, decides."""
        decided = {"seed": "seeds", "device": "--device of the command"}
        problems = [
            f"{place}: {key} must be left out, which {by} decides, got {train[key]!r}"
            for place, train in (
                ("train", self.train),
                *((f"row {row.name}: train", row.train or {}) for row in self.rows),
            )
            for key, by in decided.items()
            if key in train
        ]
        if "steps" in self.train:
            steps = self.train["steps"]
            problems.append(f"train: steps must be given as budget.steps, got {steps!r}")
        return problems

    def _row_problems(self) -> list[str]:
        folders = [row.folder for row in self.rows]
        trained = {row.name for row in self.rows if row.train is not None}
        problems = [
            f"names of rows must differ in letters and digits, got {row.name!r} twice"
            for i, row in enumerate(self.rows)
            if row.folder in folders[:i]
        ]
        if sum(row.ours for row in self.rows) > 1:
            problems.append("ours must be one row at most")
        for row in self.rows:
            if row.uses is not None and row.uses not in trained:
                problems.append(f"row {row.name}: uses must name a trained row, got {row.uses!r}")
            if needs_network(row.method or {}) != (row.method is not None and row.uses is not None):
                problems.append(f"row {row.name}: uses and $NETWORK in its method must go together")
            if row.factors not in self.factors:
                problems.append(
                    f"row {row.name}: factors must be one of {', '.join(self.factors)}, "
                    f"got {row.factors!r}"
                )
        return problems
