"""CompletedParts: which parts of an output are complete, recorded one file each."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class CompletedParts:
    """A folder of records, each of which is whole or absent.

    Parameters
    ----------
    folder
        Where they are; it is made where there is none.
    """

    folder: Path

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the record of a part; None where it is not complete, or its record damaged."""
        try:
            stored = json.loads(self._file(name).read_text(encoding="utf-8"))
            record = stored["record"]
            return record if stored["sha256"] == _digest(record) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Record that a part is complete; a kill leaves the record or none."""
        self.folder.mkdir(exist_ok=True)
        document = {"record": record, "sha256": _digest(record)}
        file = self._file(name)
        beside = file.with_suffix(".partial")
        with beside.open("w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)

    def remove(self, name: str) -> None:
        """Forget a part, so that it is made again."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
