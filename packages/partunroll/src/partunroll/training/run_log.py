"""RunLog: what happened in a training run, one JSON document per line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from normalfit.command_line import finite
from partunroll.durable_file import file_named, written_durably

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class RunLog:
    """A file of JSON lines, each with its ``step``, readable while the run goes on.

    Parameters
    ----------
    path
        The file; it is appended to.
    step
        Steps that are kept: a run that is resumed at its last checkpoint repeats the later ones.
    validated
        Whether the validation after the last of these steps is kept; False where it is repeated.
    """

    def __init__(self, path: Path, step: int = 0, *, validated: bool = True) -> None:
        kept = [
            line
            for line in (read_log(path) if path.exists() else ())
            if line["step"] < step
            or (line["step"] == step and (validated or "validation" not in line))
        ]
        with written_durably(path) as fresh:
            text = "".join(json.dumps(line) + "\n" for line in kept)
            fresh.write_text(text, encoding="utf-8")
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:  # noqa: ANN401 - any JSON value
        """Append a line."""
        line = json.dumps(finite({"step": step, **values}), allow_nan=False)
        with file_named(self._path):
            self._file.write(line + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has all lines; before a checkpoint says that they were written."""
        with file_named(self._path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with file_named(self._path):
            self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log but those that a kill or a full disk has spoilt."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
