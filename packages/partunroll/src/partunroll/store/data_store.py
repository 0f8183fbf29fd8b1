"""DataStore: samples with all that training and reconstruction need, in one Zarr group.

Layout, version 0.2 (0.1 had no digests of arrays)::

    data.zarr                      attributes: the header, see `data_store_header`
      operators/NAME/FIELD         arrays that the operators' documents name
      samples/ID/reference         x*, in [0, 1]
      samples/ID/measurements      y
      samples/ID/initial_estimate  x0
      samples/ID/backprojection    A*y
      samples/ID/residual_backprojection   r = A*(y − A x*)
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from normalfit.specs import OperatorSpec, spec_from_document
from partunroll.errors import DataStoreError, InputError
from partunroll.store.data_store_arrays import CheckedArray, damage_reported
from partunroll.store.data_store_header import (
    SAMPLE_ARRAYS,
    Header,
    SampleEntry,
    SampleInfo,
    Split,
    content_digest,
    parse_header,
)
from partunroll.store.data_store_writer import DataStoreWriter, create_store
from partunroll.store.stored_arrays import StoredArrays

if TYPE_CHECKING:
    import numpy as np

    from normalfit.grid import Patch

__all__ = ["DataStore", "DataStoreWriter", "SampleInfo", "create_store"]


class DataStore:
    """A data store, open for reading; see the module for its layout.

    It pickles as its path and header: arrays are opened where they are first read, so it can be
    handed to spawned workers.

    Parameters
    ----------
    path
        The store.
    header
        Its checked header; `open` reads it.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self._header = header
        self._arrays: dict[tuple[str, str], CheckedArray] = {}

    @classmethod
    def open(cls, path: Path | str) -> DataStore:
        """Open a store; reads its header only.

        Raises
        ------
        DataStoreError
            There is none, it is damaged, or of another version.
        """
        path = Path(path)
        if not (path / "zarr.json").is_file():
            found = "something else" if path.exists() else "nothing there"
            msg = f"{path} must be a data store, got {found}"
            raise DataStoreError(msg)
        with damage_reported(path):
            group = zarr.open_group(path, mode="r", zarr_format=3)
            return cls(path, parse_header(group.attrs.asdict()))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_header": self._header, "_arrays": {}}

    @property
    def samples(self) -> tuple[SampleInfo, ...]:
        """The samples, in the order in which they were made."""
        return tuple(entry.info for entry in self._header.samples)

    @property
    def made(self) -> dict[str, Any]:
        """How the data were made: command, seed, settings, versions."""
        return dict(self._header.made)

    @property
    def digest(self) -> str:
        """SHA-256 of what the header says about the data, whenever and by which call they came."""
        return content_digest(self._header)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the operators by name."""
        return {name: entry.fingerprint for name, entry in self._header.operators.items()}

    @cached_property
    def operators(self) -> dict[str, OperatorSpec]:
        """The specs of the operators by name, whose arrays stay on disk.

        Raises
        ------
        DataStoreError
            A stored operator is damaged, or its fingerprint is not what the header says.
        """
        return {name: self.operator(name) for name in self._header.operators}

    def operator(self, name: str) -> OperatorSpec:
        """Return the spec of one operator; the arrays of no other are read.

        Its own are read once to be checked, and again where the operator is built: none is kept.

        Raises
        ------
        InputError
            There is no such operator.
        DataStoreError
            As `operators`.
        """
        if name not in self._header.operators:
            msg = f"operator must be one of {', '.join(self._header.operators)}, got {name!r}"
            raise InputError(msg)
        with damage_reported(self.path):
            return self._spec(name)

    def sample(self, sample_id: str) -> SampleInfo:
        """Return what the store says about a sample.

        Raises
        ------
        InputError
            There is no such sample.
        """
        return self._entry(sample_id).info

    def split(self, split: Split) -> tuple[SampleInfo, ...]:
        """Return the samples of one split."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def arrays(self, sample_id: str) -> tuple[str, ...]:
        """Return the names of the arrays that a sample has.

        Raises
        ------
        InputError
            There is no such sample.
        """
        entry = self._entry(sample_id)
        return tuple(name for name in SAMPLE_ARRAYS if name in entry.arrays)

    def array_digest(self, sample_id: str, array: str) -> str | None:
        """Return the SHA-256 of an array; None in stores of version 0.1, and without the array.

        Raises
        ------
        InputError
            There is no such sample.
        """
        entry = self._entry(sample_id).arrays.get(array)
        return None if entry is None else entry.sha256

    def read(self, sample_id: str, array: str, patch: Patch | None = None) -> np.ndarray:
        """Return an array of a sample, or a patch of it: float32, or complex64.

        Parameters
        ----------
        sample_id
            Id of the sample.
        array
            ``reference``, ``measurements``, ``initial_estimate``, ``backprojection`` or
            ``residual_backprojection``.
        patch
            Part to read; only the chunks that it meets are.

        Raises
        ------
        InputError
            There is no such sample or array; normalfit's, if the patch does not lie inside it.
        DataStoreError
            A chunk is missing or damaged.
        """
        folder = self.path / "samples" / sample_id / array
        if (sample_id, array) not in self._arrays:
            entry = self._entry(sample_id)
            if array not in entry.arrays:
                names = ", ".join(self.arrays(sample_id))
                msg = f"array of sample {sample_id} must be one of {names}, got {array!r}"
                raise InputError(msg)
            with damage_reported(folder):
                self._arrays[sample_id, array] = CheckedArray(folder, entry.arrays[array])
        checked = self._arrays[sample_id, array]
        if patch is not None:
            patch.check_inside(checked.shape)
        with damage_reported(folder):
            return checked.read(patch)

    def _entry(self, sample_id: str) -> SampleEntry:
        entry = self._entries.get(sample_id)
        if entry is None:
            msg = f"sample must be one of {', '.join(self._entries)}, got {sample_id!r}"
            raise InputError(msg)
        return entry

    @cached_property
    def _entries(self) -> dict[str, SampleEntry]:
        return {entry.info.id: entry for entry in self._header.samples}

    def _spec(self, name: str) -> OperatorSpec:
        entry = self._header.operators[name]
        folder = self.path / "operators" / name
        arrays = StoredArrays(folder, entry.arrays)
        spec = spec_from_document(entry.document, arrays)
        if spec.fingerprint != entry.fingerprint:
            msg = (
                f"fingerprint of operator {name} must be {entry.fingerprint}, "
                f"got {spec.fingerprint}; the store was made with another normalfit"
            )
            raise DataStoreError(msg)
        if not set(spec.arrays) <= set(arrays):  # a mask that was drawn anew, for an older store
            return spec
        stored = replace(spec, arrays=arrays)
        vars(stored)["fingerprint"] = spec.fingerprint  # as cached: the arrays are not read for it
        return stored
