"""RowResult: what the seeds of a row have found, and the figures of a table made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from partunroll.comparison.paired_difference import PairedDifference, paired_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from partunroll.comparison.row_figures import VolumeFigures

FIGURES = ("psnr", "ssim_2d", "ssim_3d")
NOT_RUN = "not run"


@dataclass(frozen=True)
class SeedResult:
    """What became of a row with one seed.

    Parameters
    ----------
    seed
        The seed.
    reason
        Why there is nothing; empty where all went well.
    volumes
        Figures by column and sample.
    training
        What its training took, as `train_row` records it; None without one.
    reconstruction
        Seconds by sample, peak memory and choices, as `reconstruct_row` records them.
    """

    seed: int
    reason: str = ""
    volumes: Mapping[str, Mapping[str, VolumeFigures]] | None = None
    training: Mapping[str, Any] | None = None
    reconstruction: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "seed": self.seed,
            "reason": self.reason,
            "volumes": {
                column: {sample: asdict(figures) for sample, figures in found.items()}
                for column, found in (self.volumes or {}).items()
            },
            "training": self.training,
            "reconstruction": self.reconstruction,
        }


@dataclass(frozen=True)
class RowResult:
    """A row of the table.

    Parameters
    ----------
    name
        Its name.
    ours
        Whether differences are taken to it.
    departs
        Whether it has a budget of its own.
    note
        What the recipe says about it.
    seeds
        What became of every seed.
    objects
        What the test samples were made of; samples of one object, which several operators of a
        column have measured, are one volume. A sample that is not named is a volume of its own.
    """

    name: str
    ours: bool
    departs: bool
    note: str | None
    seeds: tuple[SeedResult, ...]
    objects: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> tuple[SeedResult, ...]:
        """The seeds that have figures."""
        return tuple(seed for seed in self.seeds if seed.volumes is not None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why seeds have none, each reason once."""
        return tuple(dict.fromkeys(s.reason for s in self.seeds if s.volumes is None))

    @property
    def has_failed(self) -> bool:
        """Whether a seed has failed, and not only not been run."""
        return any(reason != NOT_RUN for reason in self.reasons)

    def by_volume(
        self, column: str, figure: str, seeds: Collection[int] | None = None
    ) -> dict[str, float]:
        """Return a figure of every test volume, the mean over seeds and operators.

        Absent figures are left out, and seeds that are not among the given ones.
        """
        found: dict[str, list[float]] = {}
        for seed in self.finished:
            if seeds is not None and seed.seed not in seeds:
                continue
            for sample, figures in (seed.volumes or {}).get(column, {}).items():
                value = getattr(figures, figure)
                if value is not None:
                    found.setdefault(self.objects.get(sample, sample), []).append(value)
        return {name: fmean(values) for name, values in found.items()}

    def mean(self, column: str, figure: str) -> float | None:
        """Return the mean over volumes and seeds; None where there is nothing."""
        values = self.by_volume(column, figure).values()
        return fmean(values) if values else None

    def difference(
        self, ours: RowResult | None, column: str, figure: str = "psnr"
    ) -> PairedDifference | None:
        """Return its paired difference to another row; None where it is that row.

        Of two rows with several seeds, of those that both have finished.
        """
        if ours is None or ours is self:
            return None
        both = None
        if min(len(row.seeds) for row in (self, ours)) > 1:
            both = {seed.seed for seed in self.finished} & {seed.seed for seed in ours.finished}
        pair = (row.by_volume(column, figure, both) for row in (self, ours))
        return paired_difference(*pair)

    def training(self, figure: str) -> float | None:
        """Return a figure of its training: the mean over the seeds, of bytes the largest."""
        return _over([seed.training for seed in self.finished], lambda t: t[figure], figure)

    def reconstruction_seconds(self, column: str) -> float | None:
        """Return the mean time of a reconstruction."""
        samples = {s for seed in self.finished for s in (seed.volumes or {}).get(column, {})}

        def seconds(record: Mapping[str, Any]) -> float:
            return fmean(record["seconds"][sample] for sample in samples)

        return _over([seed.reconstruction for seed in self.finished], seconds, "seconds")

    def peak_bytes(self) -> float | None:
        """Return the largest peak of its reconstructions."""
        records = [seed.reconstruction for seed in self.finished]
        return _over(records, lambda r: r["peak_bytes"], "peak_bytes")

    def choices(self) -> dict[str, Any]:
        """Return the options that were chosen on the validation samples, by seed and column."""
        found: dict[str, Any] = {}
        for seed in self.finished:
            for column, choice in ((seed.reconstruction or {}).get("choices") or {}).items():
                options = choice["tried"][0]["options"]
                found[f"seed {seed.seed}, {column}"] = {k: choice["method"][k] for k in options}
        return found

    def as_json(self) -> dict[str, Any]:
        """Return what the seeds have found as JSON values."""
        return {
            "name": self.name,
            "ours": self.ours,
            "departs_from_budget": self.departs,
            "note": self.note,
            "seeds": [seed.as_json() for seed in self.seeds],
        }


def _over(
    records: list[Mapping[str, Any] | None],
    value: Callable[[Mapping[str, Any]], float],
    figure: str,
) -> float | None:
    values = [value(record) for record in records if record is not None]
    if not values:
        return None
    return max(values) if figure == "peak_bytes" else fmean(values)
