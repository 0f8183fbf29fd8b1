"""DataSummary: what a command that makes a data store has to say at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class DataSummary:
    """What is in a new data store.

    Attributes
    ----------
    path
        The store.
    splits
        Number of samples per split.
    fingerprints
        Fingerprint per operator.
    initial_methods
        How the initial estimates were made, per operator.
    inverse_crimes
        Operators whose data were simulated with the reconstruction's own grid.
    notes
        What the user should know, a sentence each.
    mismatches
        Per operator whose samples have references, the mean and the largest relative residual
        ``‖y − A x*‖ / ‖y‖``: the references projected again.
    """

    path: Path
    splits: dict[str, int]
    fingerprints: dict[str, str]
    initial_methods: dict[str, str]
    inverse_crimes: tuple[str, ...]
    notes: tuple[str, ...]
    mismatches: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        operators = ", ".join(
            f"{name} (initial estimate: {self.initial_methods[name]})" for name in self.fingerprints
        )
        lines = [f"{self.path}: {counts} samples; operators {operators}"]
        lines += [
            f"references projected again by {name}: {mean:.2%} of the measurements unexplained, "
            f"at most {largest:.2%}"
            for name, (mean, largest) in self.mismatches.items()
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "path": str(self.path),
            "splits": self.splits,
            "fingerprints": self.fingerprints,
            "initial_methods": self.initial_methods,
            "inverse_crimes": list(self.inverse_crimes),
            "notes": list(self.notes),
            "mismatches": {
                name: {"mean": mean, "largest": largest}
                for name, (mean, largest) in self.mismatches.items()
            },
        }


def summarize(path: Path, notes: tuple[str, ...]) -> DataSummary:
    """Return the summary of a store that was just made."""
    store = DataStore.open(path)
    return DataSummary(
        path=path,
        splits=dict(Counter(sample.split for sample in store.samples)),
        fingerprints=store.fingerprints,
        initial_methods={s.operator: s.initial_method for s in store.samples},
        inverse_crimes=tuple(sorted({s.operator for s in store.samples if s.inverse_crime})),
        notes=notes,
        mismatches=_mismatches(store),
    )


def _mismatches(store: DataStore) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for sample in store.samples:
        if sample.relative_residual is not None:
            found.setdefault(sample.operator, []).append(sample.relative_residual)
    return {name: (sum(values) / len(values), max(values)) for name, values in found.items()}
