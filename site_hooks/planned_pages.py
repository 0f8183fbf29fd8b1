"""MkDocs hook: nav entries of pages that are being written, left out until they are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

PLANNED = ("baselines.md", "comparison.md")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave planned pages that are not there out of the nav."""
    absent = {page for page in PLANNED if not (Path(config.docs_dir) / page).exists()}
    config.nav = _without(absent, config.nav)
    return config


def _without(absent: set[str], entry: Any) -> Any:
    if isinstance(entry, list):
        return [_without(absent, part) for part in entry if not _is_one_of(absent, part)]
    if isinstance(entry, dict):
        return {title: _without(absent, part) for title, part in entry.items()}
    return entry


def _is_one_of(absent: set[str], entry: Any) -> bool:
    pages = list(entry.values()) if isinstance(entry, dict) else [entry]
    return any(isinstance(page, str) and page in absent for page in pages)
