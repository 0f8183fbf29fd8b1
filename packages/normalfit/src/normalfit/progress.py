"""Progress: how long work tells its caller where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]
"""Called as ``progress(stage, done, total, text)``: a stage's name, steps done of at most
`total` (a stage may end early), and a short text with the latest figures, maybe empty."""


def no_progress(stage: str, done: int, total: int, text: str) -> None:
    """Take a progress report and do nothing with it."""
