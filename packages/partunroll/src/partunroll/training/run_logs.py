"""RunLogs: all the logs of a run, written by the first of the processes that train it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from partunroll.training.run_log import RunLog
from partunroll.training.tensorboard_log import TensorBoardLog

if TYPE_CHECKING:
    from types import TracebackType

    import torch

    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory


class RunLogs:
    """JSON lines always, and TensorBoard where the configuration asks for it.

    Parameters
    ----------
    run
        The run.
    step
        Steps that are kept: a resumed run repeats the later ones.
    validated
        As for `RunLog`.
    ranks
        Processes; those that are not the first write nothing.
    """

    def __init__(
        self, run: RunDirectory, step: int, ranks: Ranks, *, validated: bool = True
    ) -> None:
        self._lines: RunLog | None = None
        self._board: TensorBoardLog | None = None
        if ranks.is_first:
            self._lines = RunLog(run.log_path, step, validated=validated)
            if run.config.tensorboard:
                self._board = TensorBoardLog(run.tensorboard_path, step)

    def write(self, step: int, **values: object) -> None:
        """Append a line, and its numbers to TensorBoard's."""
        for log in (self._lines, self._board):
            if log is not None:
                log.write(step, **values)

    def sync(self) -> None:
        """Wait until the disk has all lines; before a checkpoint says that they were written."""
        if self._lines is not None:
            self._lines.sync()

    def show(
        self, step: int, name: str, reconstruction: torch.Tensor, reference: torch.Tensor
    ) -> None:
        """Log slices of a validation volume, where there is TensorBoard."""
        if self._board is not None:
            self._board.show(step, name, reconstruction, reference)

    def __enter__(self) -> RunLogs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lines is not None:
            self._lines.__exit__(kind, error, traceback)
        if self._board is not None:
            self._board.close()
