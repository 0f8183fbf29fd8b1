"""Exported models: a checkpoint's network as safetensors and JSON, in a folder to pass on.

Layout, version 1::

    model                  a folder
      config.json          all that a `Checkpoint` holds but its weights, with format and version
      model.safetensors    the network's state dict
      README.md            the model card; free to be edited
      SHA256SUMS           of the first two, as `sha256sum -c` checks it
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from normalfit.written_beside import written_beside
from partunroll.errors import CheckpointError
from partunroll.network.checkpoint import checkpoint_of, facts_of, load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from partunroll.network.checkpoint import Checkpoint

FORMAT, VERSION = "partunroll-model", 1
CONFIG, WEIGHTS, CARD, SUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
_BLOCK = 1 << 20


def save_model(path: Path, checkpoint: Checkpoint, card: str) -> None:
    """Write a model beside its place, load it again, and rename it.

    What only a resumed training needs is left out.

    Parameters
    ----------
    path
        A new folder.
    checkpoint
        What is exported.
    card
        The model card, Markdown.

    Raises
    ------
    InputError
        `path` exists or its folder does not; normalfit's.
    CheckpointError
        The weights do not fit the network's configuration.
    """
    document = {"format": FORMAT, "version": VERSION, **facts_of(checkpoint)}
    # safetensors holds no strides; building the network brings its memory layout back
    weights = {name: weight.contiguous() for name, weight in checkpoint.weights.items()}
    with written_beside(path) as fresh:
        fresh.mkdir()
        text = json.dumps(document, indent=2) + "\n"
        (fresh / CONFIG).write_text(text, encoding="utf-8")
        save_file(weights, fresh / WEIGHTS, metadata={"format": "pt"})
        sums = "".join(f"{_sha256(fresh / name)}  {name}\n" for name in (CONFIG, WEIGHTS))
        (fresh / SUMS).write_text(sums, encoding="utf-8")
        (fresh / CARD).write_text(card, encoding="utf-8")
        load_model(fresh).build_network()


def load_model(path: Path) -> Checkpoint:
    """Return an exported model as a checkpoint, its tensors on the CPU; no code is executed.

    Raises
    ------
    CheckpointError
        The folder is no exported model, is damaged, or of another version.
    """
    if not (path / CONFIG).is_file():
        msg = f"model must be a folder that `partunroll export` wrote, got {path} without {CONFIG}"
        raise CheckpointError(msg)
    _check_sums(path)
    document = _read_config(path)
    try:
        weights = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        msg = f"{path / WEIGHTS} must be a readable safetensors file, got {error}"
        raise CheckpointError(msg) from error
    return checkpoint_of({**document, "weights": weights, "training": {}}, path)


def load_trained(path: Path) -> Checkpoint:
    """Return a trained network, out of a checkpoint or an exported model.

    Raises
    ------
    CheckpointError
        As for `load_checkpoint` and `load_model`.
    """
    return load_model(path) if path.is_dir() else load_checkpoint(path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a checkpoint; of an exported model that of its ``SHA256SUMS``."""
    return _sha256(path / SUMS if path.is_dir() else path)


def _check_sums(path: Path) -> None:
    """Refuse a model whose files are not those that were written."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"model {path} must have checksums in {SUMS}, got {error}"
        raise CheckpointError(msg) from error
    matches = [_LINE.fullmatch(line) for line in lines if line]
    sums = {match[2]: match[1] for match in matches if match}
    for name in (CONFIG, WEIGHTS):
        found = _sha256(path / name) if (path / name).is_file() else "no file"
        if name not in sums or found != sums[name]:
            msg = (
                f"{path / name} must have the SHA-256 of {SUMS}, {sums.get(name, 'none')}, got "
                f"{found}; export the model again, or copy it as a whole"
            )
            raise CheckpointError(msg)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        document = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{path / CONFIG} must be readable JSON, got {error}"
        raise CheckpointError(msg) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        msg = f"model must be a folder that `partunroll export` wrote, got {path}"
        raise CheckpointError(msg)
    if document.get("version") != VERSION:
        msg = f"model {path} must have version {VERSION}, got {document.get('version')}"
        raise CheckpointError(msg)
    return document


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
