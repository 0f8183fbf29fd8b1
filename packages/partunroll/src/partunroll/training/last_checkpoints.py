"""keep_previous: the newest few checkpoints of a run, besides ``last.pt``."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from partunroll.durable_file import written_durably

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"step-(\d{8,})\.pt")


def keep_previous(last: Path, step: int, keep: int) -> None:
    """Keep ``last.pt`` as ``step-NNNNNNNN.pt`` before the next one takes its place.

    Parameters
    ----------
    last
        The checkpoint that is about to be replaced; nothing happens where there is none.
    step
        The steps that it has taken.
    keep
        Checkpoints that are to be there with the new ``last.pt``; the oldest others go.
    """
    if keep > 1 and last.exists():
        kept = last.with_name(f"step-{step:08d}.pt")
        with written_durably(kept) as fresh:
            fresh.unlink(missing_ok=True)
            try:
                os.link(last, fresh)  # costs no space
            except OSError:  # the file system knows no links
                shutil.copyfile(last, fresh)
    for path in previous(last.parent, before=step + 1)[max(keep - 1, 0) :]:
        path.unlink()


def previous(folder: Path, *, before: int) -> list[Path]:
    """Return the checkpoints that were kept of the steps before a step, the newest first."""
    found = {
        int(name[1]): path
        for path in folder.iterdir()
        if (name := _NAME.fullmatch(path.name)) and int(name[1]) < before
    }
    return [found[step] for step in sorted(found, reverse=True)]
