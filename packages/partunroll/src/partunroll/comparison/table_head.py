"""table_head: what the figures of a comparison depend on: the lines above its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from normalfit.devices import resolve_device
from normalfit.estimate import Estimate
from partunroll.comparison.central_part import central_shape
from partunroll.comparison.row_training import departs, own_budget
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from partunroll.comparison.recipe import Recipe
    from partunroll.comparison.row_jobs import RowJobs
    from partunroll.comparison.row_results import RowResult

_SHOWN_FILES = 12


def table_head(
    recipe: Recipe, parts: RowJobs, command: str | None, results: Sequence[RowResult]
) -> dict[str, str]:
    """Return the lines by name: command, versions, data, operators, factors, budget, figures.

    Commits and machines are those that the rows were made with, by this call or an earlier one.
    """
    return {
        **({} if command is None else {"Command": f"`{command}`"}),
        "Versions": ", ".join(f"{name} {text}" for name, text in versions().items()),
        **_made_with(results, "Commit", "code"),
        "Device": str(resolve_device(parts.device)),
        **_made_with(results, "Machine", "machine"),
        "Data": _data(recipe, parts),
        "Operators": _operators(parts),
        **_factors(recipe, parts),
        "Budget": _budget(recipe),
        "Seeds": ", ".join(map(str, recipe.seeds)),
        "Figures": _figures(recipe, parts),
    }


def _made_with(results: Sequence[RowResult], title: str, what: str) -> dict[str, str]:
    """Return what rows were made with: once where it is the same, else with their names."""
    rows: dict[str, dict[str, None]] = {}  # names in order, each once
    for row in results:
        for seed in row.finished:
            for record in (seed.training, seed.reconstruction):
                if record is not None:
                    text = record.get("made_with", {}).get(what, "not recorded")
                    rows.setdefault(text, {})[row.name] = None
    found = {text: names for text, names in rows.items() if text}
    if not found:
        return {}
    if len(rows) == 1:
        return {title: next(iter(found))}
    return {title: "; ".join(f"{text} ({', '.join(names)})" for text, names in found.items())}


def _data(recipe: Recipe, parts: RowJobs) -> str:
    section, counts = recipe.data, parts.data.summary()
    if section.store is not None:
        return f"data store {Path(section.store).name}; {counts}"
    initial = "" if section.initial == "auto" else f"initial estimates by {section.initial}; "
    how = f"simulated from a twice finer grid, {section.noise}; {initial}{counts}"
    if section.made is not None:
        series = f"seeds {section.made.seed} and {section.made.seed + 1} (test)"
        return f"made objects, {series}, {how}"
    assert section.volumes is not None  # noqa: S101 - one of the three, as the recipe checks
    names = "; ".join(
        f"{purpose}: {_listed([Path(path).name for path in paths])}"
        for purpose, paths in section.volumes.model_dump().items()
    )
    return f"volumes ({names}), {how}"


def _operators(parts: RowJobs) -> str:
    kinds = {
        f"{spec.kind} {' × '.join(map(str, spec.grid.shape))}"
        for spec in parts.data.operators.values()
    }
    columns = ", ".join(
        title if names == (title,) else f"{title} ({_listed(names)})"
        for title, names in parts.data.columns.items()
    )
    return f"{columns}; {', '.join(sorted(kinds))}"


def _factors(recipe: Recipe, parts: RowJobs) -> dict[str, str]:
    networks = [row for row in recipe.rows if row.train is not None or row.uses is not None]
    used = {recipe.factors_of(row) for row in networks}
    found = {}
    for name in recipe.factors:
        fitted = parts.fitted(name) if name in used else None
        if fitted is None:
            continue
        errors = [
            f"{operator} {Estimate(**facts['grid_error'])}"  # type: ignore[index] # as written
            for operator, facts in fitted.as_json().items()
            if facts["grid_error"] is not None  # type: ignore[index]
        ]
        options = ", ".join(f"{k} {v}" for k, v in recipe.factors[name].arguments().items())
        seconds = [
            f"{operator} {'unknown' if s is None else f'{s:.0f} s'}"
            for operator, s in fitted.seconds.items()
        ]
        found[f"Factors {name}"] = (
            f"{options}; error on the grid: {_listed(errors)}; fitted in {_listed(seconds)}"
        )
    return found


def _budget(recipe: Recipe) -> str:
    trained = [row for row in recipe.rows if row.train is not None]
    if not trained:
        return f"{recipe.budget}, which no row is trained with"
    own = [f"{row.name} ({own_budget(recipe, row)})" for row in trained if departs(recipe, row)]
    equal = [own_budget(recipe, row) for row in trained if not departs(recipe, row)]
    length = str(recipe.budget) if len(set(equal)) != 1 else equal[0]
    exceptions = f", but for {', '.join(own)}, marked †" if own else ""
    return f"{length} for every trained row{exceptions}"


def _figures(recipe: Recipe, parts: RowJobs) -> str:
    shapes = sorted({spec.grid.shape for spec in parts.data.operators.values()})
    region = "whole volumes"
    if recipe.crop is not None:
        inner = [" × ".join(map(str, central_shape(shape, recipe.crop))) for shape in shapes]
        region = f"the central {_listed(inner)} voxels"
    return (
        f"of {region}, of magnitudes where complex; range: max − min of each reference; SSIM 2-D: "
        "mean over slices across the first axis"
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _SHOWN_FILES
    return ", ".join(names[:_SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")
