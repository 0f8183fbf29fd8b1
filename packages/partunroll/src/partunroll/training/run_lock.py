"""RunLock: one call of `train` at a time works in the directory of a run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from partunroll.errors import InputError
from partunroll.file_lock import lock

if TYPE_CHECKING:
    from pathlib import Path


class RunLock(ExitStack):
    """Locks the configuration of a run, which is never replaced, until the block ends.

    The system unlocks it when the process dies, however it dies: no lock is ever left behind.
    """

    def take(self, run: Path) -> None:
        """Lock a run.

        Raises
        ------
        InputError
            Another process trains in it.
        """
        file = self.enter_context((run / "config.yaml").open("ab"))
        if not lock(file):
            msg = (
                f"run must be trained by one process at a time, got {run} in another's hands; "
                "wait for it, or end it"
            )
            raise InputError(msg)
