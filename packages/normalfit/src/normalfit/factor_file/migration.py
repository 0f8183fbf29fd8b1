"""migrate: an earlier version of a factor file as the present one, in a new place."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normalfit.factor_file.header import VERSION
from normalfit.factor_file.opening import open_factors
from normalfit.factor_file.writer import versions, write_factor_file
from normalfit.written_beside import check_output

if TYPE_CHECKING:
    from normalfit.factor_file.header import CommonHeader

_STEPS = {
    "0.1": (
        "read every chunk against its checksum, and the operator against its fingerprint",
        "say in the header whether the kernels are Hermitian",
        "add a check vector: a probe and its response, in double precision",
        "replace the header's checksum by a manifest of SHA-256 sums of all files",
        "keep report, versions, command and date; say under `migrated` what did this, and when",
    )
}


@dataclass(frozen=True)
class Migration:
    """What a migration does, or has done.

    Parameters
    ----------
    source
        The factor file, which stays as it is.
    target
        The new file; None: nothing was written.
    from_version, to_version
        Equal where there is nothing to do.
    steps
        A sentence each.
    """

    source: Path
    target: Path | None
    from_version: str
    to_version: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        if not self.steps:
            return f"{self.source} has version {self.from_version}: nothing to do"
        done = "nothing written; --output NEW does it" if self.target is None else self.target
        head = f"{self.source}: {self.from_version} → {self.to_version} ({done})"
        return "\n".join([head, *(f"  {i}. {step}" for i, step in enumerate(self.steps, 1))])

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "source": str(self.source),
            "target": None if self.target is None else str(self.target),
            "from": self.from_version,
            "to": self.to_version,
            "steps": list(self.steps),
        }


def migrate(path: str | Path, output: str | Path | None = None) -> Migration:
    """Write a factor file of an earlier version as one of the present version.

    Parameters
    ----------
    path
        A factor file of any version that can be read; it is not changed.
    output
        A new path; None: only tell the steps. Where there is nothing to do, nothing is written.

    Raises
    ------
    FactorFileError
        `path` cannot be read.
    InputError
        `output` exists.
    """
    path = Path(path)
    if output is not None:
        check_output(output)
    file = open_factors(path)
    steps = _STEPS.get(file.header.version, ())
    if output is None or not steps:
        return Migration(path, None, file.header.version, VERSION, steps)
    write_factor_file(output, file.load(), file.metadata, more=_kept(file.header))
    return Migration(path, Path(output), file.header.version, VERSION, steps)


def _kept(old: CommonHeader) -> dict[str, Any]:
    """Return what the new header takes from the old one, and that it was migrated."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    migrated = {"must_understand": False, "from": old.version, "at": now, "versions": versions()}
    return {"versions": old.versions, "created": old.created, "migrated": migrated}
