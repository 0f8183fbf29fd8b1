"""table_markdown: a comparison as a page: its head, a table for every operator, and the costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from partunroll.comparison.comparison_table import ComparisonTable
    from partunroll.comparison.row_results import RowResult

_NONE = "–"
_EXPLAINED = (
    "Means over the test volumes and the seeds. Differences are of the PSNR in dB, row − ours on "
    "the same volume, with the 95 % interval of Student's t over the volumes; the seeds of a "
    "volume, and operators that measured the same one, are averaged first, so the interval does "
    "not count them as more volumes."
)
_COSTS = (
    "Peak memory is that of a process which does nothing but this row (on the CPU with Python and "
    "its libraries, some 700 MB), of a reconstruction without choosing options; training time is "
    "that of the steps, without validations. Initial estimates, from which networks, PnP and DPIR "
    "start, are not in the times of reconstructions."
)


def table_markdown(table: ComparisonTable) -> str:
    """Return the page; rows that failed stand in it with their reasons."""
    head = [f"- {name}: {text}" for name, text in table.head.items()]
    parts = [f"# {table.title}", "\n".join(head), _EXPLAINED]
    for column in table.columns:
        parts += [f"## {column}", _quality(table, column)]
    parts += ["## Costs", _costs(table), _COSTS, *_footnotes(table)]
    return "\n\n".join(parts) + "\n"


def _quality(table: ComparisonTable, column: str) -> str:
    means = [row.mean(column, "psnr") for row in table.rows]
    best = max((mean for mean in means if mean is not None), default=None)
    lines = []
    for row, psnr in zip(table.rows, means, strict=True):
        difference = table.difference(row, column)
        shown = _number(psnr, 2)
        lines.append(
            (
                _title(row),
                f"**{shown}**" if psnr is not None and psnr == best else shown,
                _number(row.mean(column, "ssim_2d"), 4),
                _number(row.mean(column, "ssim_3d"), 4),
                "ours" if row.ours else (_NONE if difference is None else str(difference)),
                _remark(row),
            )
        )
    names = ("method", "PSNR (dB)", "SSIM 2-D", "SSIM 3-D", "difference (95 %)", "")
    return _table(names, lines)


def _costs(table: ComparisonTable) -> str:
    lines = [
        (
            _title(row),
            _number(row.training("steps"), 0),
            _number(row.training("training_seconds"), 0),
            _number(row.training("seconds_per_step"), 3),
            _gigabytes(row.training("peak_bytes")),
            " / ".join(_number(row.reconstruction_seconds(c), 2) for c in table.columns),
            _gigabytes(row.peak_bytes()),
        )
        for row in table.rows
    ]
    names = (
        "method",
        "steps",
        "training (s)",
        "s per step",
        "peak, training (GB)",
        f"s per volume ({' / '.join(table.columns)})",
        "peak, reconstruction (GB)",
    )
    return _table(names, lines)


def _footnotes(table: ComparisonTable) -> list[str]:
    notes = []
    if any(row.departs for row in table.rows):
        notes.append("† has a budget of its own, see above.")
    for row in table.rows:
        if row.note:
            notes.append(f"{row.name}: {row.note}")
        chosen = [
            f"{', '.join(f'{option} {value}' for option, value in options.items())} ({place})"
            for place, options in row.choices().items()
        ]
        if chosen:
            notes.append(f"{row.name}, chosen on the validation samples: {'; '.join(chosen)}.")
    return ["\n".join(f"- {' '.join(note.split())}" for note in notes)] if notes else []


def _title(row: RowResult) -> str:
    return f"{row.name} †" if row.departs else row.name


def _remark(row: RowResult) -> str:
    """Return what is missing of a row, and why."""
    if not row.reasons:
        return ""
    failed = ", ".join(str(seed.seed) for seed in row.seeds if seed.volumes is None)
    of = f" (seed {failed})" if row.finished else ""
    reasons = "; ".join(row.reasons)
    return f"failed{of}: {reasons}" if row.has_failed else f"{reasons}{of}"


def _table(names: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = [names, ("---",) * len(names), *lines]
    return "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _number(value: float | None, decimals: int) -> str:
    return _NONE if value is None else f"{value:.{decimals}f}"


def _gigabytes(value: float | None) -> str:
    return _NONE if value is None else f"{value / 1e9:.2f}"
