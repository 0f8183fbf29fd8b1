"""StopSignals: SIGTERM and SIGINT as a wish to stop, kept until the work can be saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopRequestedError(Exception):
    """A signal came inside `StopSignals.interruptible`."""


class StopSignals:
    """While it is entered, the first SIGTERM or SIGINT is only noted; a second SIGINT interrupts.

    Outside the main thread, where Python has no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.received: str | None = None  # the name of the signal
        self._interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {which: signal.signal(which, self._note) for which in STOPPING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)
        self._before = {}

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal abandon the block, for long work that may be done again.

        Raises
        ------
        StopRequestedError
            A signal has come.
        """
        if self.received:
            raise StopRequestedError
        try:
            self._interruptible = True
            yield
        finally:
            self._interruptible = False

    def _note(self, number: int, frame: object) -> None:  # noqa: ARG002 - what Python passes
        again, self.received = self.received, signal.Signals(number).name
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._interruptible:
            raise StopRequestedError
