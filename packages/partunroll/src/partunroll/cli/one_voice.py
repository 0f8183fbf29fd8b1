"""one_voice: of the processes that torchrun starts, one speaks for all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from normalfit.command_line import INPUT_ERROR
from partunroll.errors import RankError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_voice() -> Iterator[bool]:
    """Yield whether this process is the first, which prints.

    The others end without a word where the first says what is wrong.

    Raises
    ------
    Exit
        Typer's, with the code of wrong input.
    """
    from partunroll.ranks import present_ranks

    is_first = present_ranks().is_first
    try:
        yield is_first
    except (RankError, TrainingError) as error:
        if is_first:
            raise
        raise typer.Exit(INPUT_ERROR) from error
