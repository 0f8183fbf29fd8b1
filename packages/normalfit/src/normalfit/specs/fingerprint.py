"""Fingerprint: a hash of what an operator is, whatever way its spec is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def fingerprint(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256, in hex, of a spec's document with its defaults filled in.

    It does not depend on the order of the keys, on 1 or 1.0, on the backend, or on the names
    of files, only on the arrays in them. Two ways to describe one operator (an orbit by its
    parameters, by its vectors) have two fingerprints.
    """
    kept = {key: _plain(value) for key, value in document.items() if key != "backend"}
    kept |= {key: _content_hash(array) for key, array in arrays.items()}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _content_hash(array: np.ndarray) -> str:
    """Hash dtype, shape and values, little-endian in C order."""
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{values.dtype.str} {list(array.shape)} ".encode())
    digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
