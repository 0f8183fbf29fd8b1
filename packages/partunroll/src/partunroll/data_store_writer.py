"""create_store: writes a data store beside its target; it appears when it is complete."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from normalfit.written_beside import written_beside
from partunroll.data_store_arrays import write_array
from partunroll.data_store_header import (
    SAMPLE_ARRAYS,
    ArrayEntry,
    OperatorEntry,
    SampleEntry,
    SampleInfo,
    check_name,
    chunks_of,
    make_header,
    to_attributes,
)
from partunroll.errors import InputError
from partunroll.versions import versions
from partunroll.volume_file import check_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from normalfit.specs import OperatorSpec

REQUIRED_ARRAYS = ("measurements", "initial_estimate", "backprojection")
VIEW_KINDS = ("cone_beam", "parallel_beam")  # operators whose measurements are views


@contextmanager
def create_store(
    path: Path | str, operators: Mapping[str, OperatorSpec], made: Mapping[str, Any]
) -> Iterator[DataStoreWriter]:
    """Yield the writer of a new store; it is renamed to `path` when the block ends.

    Parameters
    ----------
    path
        Where the store will be. A block that fails leaves nothing there.
    operators
        Specs by name.
    made
        How the data are made, as JSON values: settings, seed. Command line, time and versions
        are added.

    Raises
    ------
    InputError
        `path` exists or its folder does not (normalfit's), a name is not allowed, or there are
        no samples.
    """
    with written_beside(path) as fresh:
        writer = DataStoreWriter(fresh, operators, made)
        yield writer
        writer.finish()


class DataStoreWriter:
    """Adds samples to a store that nobody can see yet; made by `create_store`."""

    def __init__(
        self, path: Path, operators: Mapping[str, OperatorSpec], made: Mapping[str, Any]
    ) -> None:
        for name in operators:
            check_name("operator", name)
        self._path = path
        self._specs = dict(operators)
        self._samples: dict[str, SampleEntry] = {}
        self._made = {
            "command": " ".join(sys.argv),
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            **made,
        }
        zarr.create_group(path, zarr_format=3)
        self._operators = {name: self._add_operator(name, s) for name, s in operators.items()}

    def add_sample(self, info: SampleInfo, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one sample: float32, or complex64 where an array is complex.

        Parameters
        ----------
        info
            Its header entry.
        arrays
            Names from `SAMPLE_ARRAYS`; ``reference`` and ``residual_backprojection`` may be
            left out where there is no reference.

        Raises
        ------
        InputError
            The id is taken, the operator unknown, an array missing, unknown or not finite.
        """
        spec = self._specs.get(info.operator)
        names = set(arrays)
        if spec is None or info.id in self._samples:
            msg = (
                f"sample must have a new id and an operator of {sorted(self._specs)}, "
                f"got id {info.id!r}, operator {info.operator!r}"
            )
            raise InputError(msg)
        if not set(REQUIRED_ARRAYS) <= names <= set(SAMPLE_ARRAYS):
            msg = f"arrays must include {REQUIRED_ARRAYS} of {SAMPLE_ARRAYS}, got {sorted(names)}"
            raise InputError(msg)
        folder = self._group("samples") / info.id
        zarr.create_group(folder, zarr_format=3)
        entries = {
            name: self._write(folder / name, name, values, info, spec)
            for name, values in arrays.items()
        }
        self._samples[info.id] = SampleEntry(info=info, arrays=entries)

    def finish(self) -> None:
        """Write the header, which makes the folder a data store.

        Raises
        ------
        InputError
            There is no sample, or the header is not valid.
        """
        header = make_header(self._operators, self._samples.values(), self._made)
        zarr.open_group(self._path, mode="r+").attrs.put(to_attributes(header))

    def _write(
        self, path: Path, name: str, values: np.ndarray, info: SampleInfo, spec: OperatorSpec
    ) -> ArrayEntry:
        dtype = np.complex64 if np.iscomplexobj(values) else np.float32
        stored = np.ascontiguousarray(values, dtype=dtype)
        check_finite(name, stored, f"sample {info.id}")
        by_view = name == "measurements" and spec.kind in VIEW_KINDS
        attributes = {
            "sample": info.id,
            "operator": info.operator,
            "fingerprint": spec.fingerprint,
            "intensity_per_mm": info.intensity_per_mm,
            "inverse_crime": info.inverse_crime,
        }
        return write_array(path, stored, chunks_of(stored.shape, by_view=by_view), attributes)

    def _add_operator(self, name: str, spec: OperatorSpec) -> OperatorEntry:
        folder = self._group("operators") / name
        zarr.create_group(folder, zarr_format=3)
        arrays = {
            field: write_array(folder / field, values, chunks_of(values.shape, by_view=False))
            for field, values in spec.arrays.items()
        }
        return OperatorEntry(document=spec.document(), fingerprint=spec.fingerprint, arrays=arrays)

    def _group(self, name: str) -> Path:
        folder = self._path / name
        if not folder.exists():
            zarr.create_group(folder, zarr_format=3)
        return folder
