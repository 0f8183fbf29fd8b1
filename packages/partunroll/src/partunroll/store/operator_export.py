"""export_operators: the operators of a data store as YAML files and the arrays they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import yaml

from normalfit.specs import load_spec
from normalfit.written_beside import written_beside
from partunroll.errors import MismatchError
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from pathlib import Path

    from normalfit.specs import OperatorSpec


def export_operators(store: Path | str, output: Path | str) -> list[str]:
    """Write ``NAME.yaml`` for every operator of a store; returns the names.

    Parameters
    ----------
    store
        A data store.
    output
        A folder to make; it appears when all is in it.

    Raises
    ------
    DataStoreError
        The store cannot be read.
    InputError
        `output` exists or cannot be made (normalfit's).
    MismatchError
        A file does not stand for the operator: it was drawn by another version.
    """
    opened = DataStore.open(store)
    with written_beside(output) as fresh:
        fresh.mkdir()
        for name in opened.fingerprints:
            _export(opened.operator(name), fresh, name)
    return list(opened.fingerprints)


def _export(spec: OperatorSpec, folder: Path, name: str) -> None:
    document = spec.document()
    for key in type(spec.config).file_keys:
        if key in spec.arrays:
            document[key] = f"{name}-{key.removesuffix('_file')}.npy"
            np.save(folder / document[key], spec.arrays[key])
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    found = load_spec(file).fingerprint
    if found != spec.fingerprint:
        msg = f"operator {name} must have the fingerprint {spec.fingerprint}, got {found} in YAML"
        raise MismatchError(msg)
