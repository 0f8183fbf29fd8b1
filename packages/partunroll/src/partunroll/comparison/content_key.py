"""content_key: a short hash of all that decides what a part of a comparison holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 16


def content_key(document: Mapping[str, Any]) -> str:
    """Return the hash of a JSON document and of the versions that compute from it."""
    text = json.dumps({**document, "versions": versions()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def file_digests(document: Any) -> dict[str, str]:  # noqa: ANN401 - any JSON value
    """Return the SHA-256 of every file that a value of a JSON document names, by its path."""
    if isinstance(document, dict):
        return {k: v for inner in document.values() for k, v in file_digests(inner).items()}
    if isinstance(document, list | tuple):
        return {k: v for inner in document for k, v in file_digests(inner).items()}
    if not isinstance(document, str) or not document or not Path(document).is_file():
        return {}
    with Path(document).open("rb") as file:
        return {document: hashlib.file_digest(file, "sha256").hexdigest()}
