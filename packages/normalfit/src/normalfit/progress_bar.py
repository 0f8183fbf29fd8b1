"""Progress bars on stderr, for everything that reports its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from rich.progress import TaskID

    from normalfit.progress import Progress


def progress_bars() -> Bars:
    """Return bars for stderr, to be used in a `with`: on a terminal only, and gone at the end.

    So an error after them is the one line on stderr, and a log holds none of them.
    """
    console = Console(stderr=True)
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def report_to(bars: Bars) -> Progress:
    """Return a progress function that keeps one bar per stage."""
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int, text: str) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(
            tasks[stage], completed=done, total=total, description=f"{stage} {text}".rstrip()
        )

    return report
