"""ComparisonData: the samples that all rows share: stores, operators, and columns of the table."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from normalfit.specs import load_spec, spec_from_document
from partunroll.comparison.content_key import content_key
from partunroll.errors import InputError
from partunroll.measurements.noise import noise_model
from partunroll.measurements.simulation import simulate
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.store.data_store_header import Split
from partunroll.store.source_stamp import source_stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.progress import Progress

    from normalfit.specs import OperatorSpec
    from partunroll.comparison.recipe import Recipe
    from partunroll.store.data_store import SampleInfo


@dataclass(frozen=True)
class ComparisonData:
    """Where the samples are.

    Parameters
    ----------
    trained, tested
        Data stores: that with the samples for training and validation, and that for the test;
        one where a prepared store has both.
    columns
        Names of the operators by the title of the table's column.
    """

    trained: Path
    tested: Path
    columns: Mapping[str, tuple[str, ...]]

    @cached_property
    def operators(self) -> dict[str, OperatorSpec]:
        """Operators by name."""
        return DataStore.open(self.tested).operators

    @cached_property
    def digests(self) -> dict[str, str]:
        """What the stores hold, as hashes."""
        return {
            "trained": DataStore.open(self.trained).digest,
            "tested": DataStore.open(self.tested).digest,
        }

    def samples(self, split: Split, column: str) -> tuple[SampleInfo, ...]:
        """Return the samples of a column that are for one purpose."""
        store = DataStore.open(self.tested if split == "test" else self.trained)
        return tuple(s for s in store.split(split) if s.operator in self.columns[column])

    @cached_property
    def objects(self) -> dict[str, str]:
        """What each test sample was made of: several operators may have measured one object."""
        return {s.id: s.source for s in DataStore.open(self.tested).split("test")}

    def summary(self) -> str:
        """Return how many samples there are, in words."""
        trained, tested = DataStore.open(self.trained), DataStore.open(self.tested)
        counts = (
            f"{len(trained.split('train'))} for training",
            f"{len(trained.split('validation'))} for validation",
            f"{len(tested.split('test'))} for the test",
        )
        named = ", ".join(counts)
        crime = any(sample.inverse_crime for sample in tested.samples)
        return f"samples: {named}" + ("; simulated on their own grid" if crime else "")


def prepare_data(
    recipe: Recipe, folder: Path, device: str, progress: Progress | None = None
) -> ComparisonData:
    """Return the data of a recipe; what is to be simulated is, unless it is there already.

    Raises
    ------
    InputError
        A store lacks a split, a column has no operator, or files cannot be used.
    """
    if recipe.data.store is not None:
        store = Path(recipe.data.store)
        trained = tested = store
        names = list(DataStore.open(store).fingerprints)
        _check_splits(store)
        if recipe.columns is None:  # operators of training scans alone make no tables
            used = {sample.operator for sample in DataStore.open(store).split("test")}
            names = [name for name in names if name in used]
    else:
        specs = _specs(recipe)
        names = list(specs)
        _columns(recipe.columns, names)  # before anything is simulated
        trained, tested = _simulated(recipe, specs, folder, device, progress)
    data = ComparisonData(trained, tested, _columns(recipe.columns, names))
    _check_columns(data, choosing=any(row.candidates for row in recipe.rows))
    return data


def _specs(recipe: Recipe) -> dict[str, OperatorSpec]:
    return {
        name: load_spec(given) if isinstance(given, str) else spec_from_document(given, {})
        for name, given in (recipe.operators or {}).items()
    }


def _simulated(
    recipe: Recipe,
    specs: Mapping[str, OperatorSpec],
    folder: Path,
    device: str,
    progress: Progress | None,
) -> tuple[Path, Path]:
    """Return the stores of training and test, made where they are missing."""
    data = recipe.data
    volumes = data.volumes
    stamps = [] if volumes is None else [source_stamp(p) for p in _every(volumes.model_dump())]
    key = content_key(
        {
            "data": data.model_dump(mode="json"),
            "operators": {name: spec.fingerprint for name, spec in specs.items()},
            "sources": stamps,
        }
    )
    made = folder / key
    made.mkdir(parents=True, exist_ok=True)
    shared: dict[str, Any] = {
        "noise": noise_model(data.noise.photons, data.noise.relative),
        "seed": data.seed,
        "window": data.window,
        "method": data.initial,
        "device": device,
        "progress": progress,
        **({} if volumes is None else data.placement.model_dump()),
    }
    trained, tested = made / "trained.zarr", made / "tested.zarr"
    train, validation, test = _objects(recipe)
    if not trained.exists():
        simulate(specs, train, trained, validation=validation, **shared)
    if not tested.exists():
        simulate(specs, test, tested, split="test", **shared)
    return trained, tested


def _objects(recipe: Recipe) -> tuple[Any, Any, Any]:
    """Return what `simulate` takes for training, for validation, and for the test."""
    made, volumes = recipe.data.made, recipe.data.volumes
    if volumes is not None:
        return volumes.train, volumes.validation, volumes.test
    assert made is not None  # noqa: S101 - one of the two, as the recipe checks
    return (
        MadeObjects(made.train + made.validation, made.seed, made.smallest),
        made.validation,
        MadeObjects(made.test, made.seed + 1, made.smallest),
    )


def _every(volumes: Mapping[str, Sequence[str]]) -> list[str]:
    return [path for paths in volumes.values() for path in paths]


def _columns(wanted: Mapping[str, str] | None, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if wanted is None:
        return {name: (name,) for name in names}
    columns = {
        title: tuple(name for name in names if fnmatchcase(name, pattern))
        for title, pattern in wanted.items()
    }
    empty = [f"{title} ({wanted[title]})" for title, found in columns.items() if not found]
    twice = {n for n in names if sum(n in found for found in columns.values()) > 1}
    if empty or twice:
        msg = (
            f"columns must each match operators of {', '.join(names)}, and no operator two, got "
            f"{', '.join([*empty, *sorted(twice)])}"
        )
        raise InputError(msg)
    return columns


def _check_columns(data: ComparisonData, *, choosing: bool) -> None:
    """Refuse columns without samples, whose rows could not be computed, or not be chosen for."""
    needed: tuple[Split, ...] = ("test", "validation") if choosing else ("test",)
    empty = [
        f"{column} without samples for {split}"
        for column in data.columns
        for split in needed
        if not data.samples(split, column)
    ]
    if empty:
        msg = (
            "columns must have samples for the test, and for validation where rows choose "
            f"options, got {', '.join(empty)}; join operators by patterns in columns"
        )
        raise InputError(msg)


def _check_splits(path: Path) -> None:
    store = DataStore.open(path)
    missing = [split for split in get_args(Split) if not store.split(split)]
    if missing:
        msg = f"data store {path} must have samples of every split, got none of {missing}"
        raise InputError(msg)
