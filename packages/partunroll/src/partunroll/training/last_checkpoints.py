"""The last checkpoint of a run, and the newest few before it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from partunroll.durable_file import written_durably
from partunroll.errors import CheckpointError
from partunroll.network.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from partunroll.network.checkpoint import TrainedOperator

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


def last_operators(last: Path) -> tuple[TrainedOperator, ...]:
    """Return the operators of the last checkpoint, if there is one.

    Raises
    ------
    CheckpointError
        It cannot be read; the newest that can be is named.
    """
    if not last.exists():
        return ()
    try:
        return load_checkpoint(last).operators
    except CheckpointError as error:
        kept = _newest_sound(last.parent)
        remedy = f"put {kept.name} in its place to go on from there" if kept else "start a new run"
        msg = f"{error}; {remedy}"
        raise CheckpointError(msg) from error


def _newest_sound(folder: Path) -> Path | None:
    """Return the newest checkpoint that was kept and can be read; None where there is none."""
    for path in previous(folder, before=sys.maxsize):
        with suppress(CheckpointError):
            load_checkpoint(path)
            return path
    return None


def previous(folder: Path, *, before: int) -> list[Path]:
    """Return the checkpoints that were kept of the steps before a step, the newest first."""
    found = {
        int(name[1]): path
        for path in folder.iterdir()
        if (name := _NAME.fullmatch(path.name)) and int(name[1]) < before
    }
    return [found[step] for step in sorted(found, reverse=True)]
