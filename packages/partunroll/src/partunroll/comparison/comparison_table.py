"""ComparisonTable: all rows of a comparison, as Markdown, as CSV, and as JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partunroll.comparison.row_results import FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partunroll.comparison.paired_difference import PairedDifference
    from partunroll.comparison.row_results import RowResult

COLUMNS = (
    "row",
    "column",
    *FIGURES,
    "difference",
    "difference_half_width",
    "volumes",
    "seeds",
    "steps",
    "training_seconds",
    "seconds_per_step",
    "training_peak_bytes",
    "reconstruction_seconds",
    "reconstruction_peak_bytes",
    "departs_from_budget",
    "reason",
)


@dataclass(frozen=True)
class ComparisonTable:
    """What a comparison has found.

    Parameters
    ----------
    title
        Of the recipe.
    head
        What the figures depend on, by name: command, versions, data, budget and so on.
    columns
        Titles of the operators or groups of them, in order.
    rows
        In the order of the recipe; every one of it.
    """

    title: str
    head: Mapping[str, str]
    columns: tuple[str, ...]
    rows: tuple[RowResult, ...]

    @property
    def ours(self) -> RowResult | None:
        """The row that differences are taken to."""
        return next((row for row in self.rows if row.ours), None)

    def difference(self, row: RowResult, column: str) -> PairedDifference | None:
        """Return a row's paired difference to ours, of the PSNR."""
        return row.difference(self.ours, column)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "title": self.title,
            "head": dict(self.head),
            "columns": list(self.columns),
            "table": self.records(),
            "rows": [row.as_json() for row in self.rows],
        }

    def records(self) -> list[dict[str, Any]]:
        """Return a record of figures for every row and column, those of a failed row empty."""
        return [self._record(row, column) for row in self.rows for column in self.columns]

    def as_csv(self) -> str:
        """Return the records, one a line."""
        return _csv(COLUMNS, self.records())

    def volumes_as_csv(self) -> str:
        """Return the figures of every volume with every seed, one a line."""
        lines = [
            {
                "row": row.name,
                "seed": seed.seed,
                "column": column,
                "sample": sample,
                **{name: getattr(figures, name) for name in FIGURES},
                "seconds": (seed.reconstruction or {})["seconds"][sample],
            }
            for row in self.rows
            for seed in row.finished
            for column, found in (seed.volumes or {}).items()
            for sample, figures in found.items()
        ]
        return _csv(("row", "seed", "column", "sample", *FIGURES, "seconds"), lines)

    def _record(self, row: RowResult, column: str) -> dict[str, Any]:
        difference = self.difference(row, column)
        return {
            "row": row.name,
            "column": column,
            **{figure: row.mean(column, figure) for figure in FIGURES},
            "difference": difference and difference.mean,
            "difference_half_width": difference and difference.half_width,
            "volumes": len(row.by_volume(column, "psnr")),
            "seeds": len(row.finished),
            "steps": row.training("steps"),
            "training_seconds": row.training("training_seconds"),
            "seconds_per_step": row.training("seconds_per_step"),
            "training_peak_bytes": row.training("peak_bytes"),
            "reconstruction_seconds": row.reconstruction_seconds(column),
            "reconstruction_peak_bytes": row.peak_bytes(),
            "departs_from_budget": row.departs,
            "reason": "; ".join(row.reasons),
        }


def _csv(columns: tuple[str, ...], records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
