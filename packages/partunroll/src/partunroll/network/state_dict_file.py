"""read_state_dict: the weights in a file that another program wrote by torch.save."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from partunroll.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read_state_dict(path: Path, name: str, networks: str) -> dict[str, torch.Tensor]:
    """Return the weights by name, alone in the file or under its key ``state_dict``.

    Parameters
    ----------
    path
        The file; only tensors and plain values are unpickled.
    name
        Of the option that names the file.
    networks
        Whose weights it should hold, for messages.

    Raises
    ------
    InputError
        It cannot be read, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other programs' pickles
            document: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a damaged file raises anything
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        msg = f"{name} must be a file of weights, got {path}: {reason}"
        raise InputError(msg) from error
    document = document.get("state_dict", document) if isinstance(document, dict) else None
    if not document or not all(isinstance(value, torch.Tensor) for value in document.values()):
        msg = f"{name} must be a state dict of {networks}, got {path}"
        raise InputError(msg)
    return dict(document)
