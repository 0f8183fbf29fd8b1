"""What stays of a run that ends in an error: its steps; of a new one without steps, nothing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from normalfit.errors import NormalfitError
from partunroll.errors import PartunrollError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory
    from partunroll.training.training_state import TrainingState


@contextmanager
def kept_on_error(run: RunDirectory, state: TrainingState, ranks: Ranks) -> Iterator[None]:
    """Keep the steps of a run that ends in an error; a new run without steps leaves nothing.

    A loss that is not finite is the exception: the last checkpoint was good, the weights since
    may not be.
    """
    first = state.step
    try:
        yield
    except TrainingError:
        raise
    except (NormalfitError, PartunrollError):
        if ranks.is_first and state.step > first:
            state.save_last(run.last_path)
        elif ranks.is_first and run.is_new:
            shutil.rmtree(run.path)
        raise


@contextmanager
def removed_if_refused(run: RunDirectory, ranks: Ranks) -> Iterator[None]:
    """Leave nothing of a new run that is refused."""
    try:
        yield
    except (NormalfitError, PartunrollError):
        if ranks.is_first and run.is_new:
            shutil.rmtree(run.path)
        raise
