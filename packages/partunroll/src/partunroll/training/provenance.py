"""provenance: which code and which files a training run was made with."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partunroll.durable_file import written_durably
from partunroll.errors import InputError
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from partunroll.configuration.network_config import DRUNetConfig
    from partunroll.training.training_operator import TrainingOperator

_SECONDS = 10  # git on a slow file system


def session(
    step: int, operators: Sequence[TrainingOperator], prior: DRUNetConfig, data: str
) -> dict[str, Any]:
    """Return what a call of `train` computes with, as JSON values.

    Parameters
    ----------
    step
        Where it begins.
    operators
        With their factor files.
    prior
        Resolved; its file of first weights is named with its SHA-256, if it is still there.
    data
        `DataStore.digest`.
    """
    return {
        "step": step,
        "versions": versions(),
        "git": {"code": git_state(Path(__file__)), "working_directory": git_state(Path.cwd())},
        "factors": [
            {
                "operator": operator.name,
                "path": str(operator.factors.path),
                "fingerprint": operator.factors.fingerprint,
                "digest": operator.factor_digest,
                "norm": operator.norm,
            }
            for operator in operators
        ],
        "data": data,
        "prior_weights": None if prior.weights is None else _weights(Path(prior.weights)),
    }


def append_session(path: Path, entry: dict[str, Any]) -> None:
    """Add a session to the JSON list of a run, which is made for the first.

    Raises
    ------
    InputError
        There is one that is no list; it is left alone.
    """
    try:
        sessions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError as error:
        sessions = error
    if not isinstance(sessions, list):
        msg = f"{path} must be a JSON list, got {sessions!r:.80}; move it away to go on without it"
        raise InputError(msg)
    with written_durably(path) as fresh:
        fresh.write_text(json.dumps([*sessions, entry], indent=2) + "\n", encoding="utf-8")


def _weights(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {"path": str(path), "sha256": None}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "sha256": digest}


def git_state(path: Path) -> dict[str, Any] | None:
    """Return commit and whether files of it are changed; None outside a repository.

    Parameters
    ----------
    path
        A folder, or a file: that must itself be in the repository, as an installed package
        in a virtual environment is not.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and _git(folder, "ls-files", "--error-unmatch", path.name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if not commit or status is None:
        return None
    return {"commit": commit, "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails or is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - arguments of our own
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
