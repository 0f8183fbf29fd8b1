"""create_store: writes a data store beside its target; it appears when it is complete."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from normalfit.written_beside import written_beside
from partunroll.completed_parts import CompletedParts
from partunroll.errors import DataStoreError, InputError
from partunroll.store.data_store_arrays import CheckedArray, damage_reported, write_array
from partunroll.store.data_store_header import (
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
from partunroll.unfinished_work import UnfinishedWork, unfinished_work
from partunroll.versions import versions
from partunroll.volumes.volume_file import check_finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from normalfit.specs import OperatorSpec

    Arrays = Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]]

REQUIRED_ARRAYS = ("measurements", "initial_estimate", "backprojection")
VIEW_KINDS = ("cone_beam", "parallel_beam")  # operators whose measurements are views


@contextmanager
def create_store(
    path: Path | str,
    operators: Mapping[str, OperatorSpec],
    made: Mapping[str, Any],
    *,
    plan: Mapping[str, Any] | None = None,
) -> Iterator[DataStoreWriter]:
    """Yield the writer of a new store; it is renamed to `path` when the block ends.

    Parameters
    ----------
    path
        Where the store will be. A block that fails leaves nothing there.
    operators
        Specs by name; the writer takes more.
    made
        How the data are made, as JSON values: settings, seed. Command line, time and versions
        are added.
    plan
        All that decides what the store holds, as JSON values: operators and samples that are
        complete when the process is killed, or the block fails, are then kept, and taken over
        by the next writer with the same path and plan. At the end every chunk is read again.
        None: nothing is kept.

    Raises
    ------
    InputError
        `path` exists or its folder does not (normalfit's), another process makes it, a name is
        not allowed, or there are no samples.
    DataStoreError
        A sample does not read back at the end; it is made again next time.
    """
    if plan is None:
        with written_beside(path) as fresh:
            writer = DataStoreWriter(fresh, operators, made)
            yield writer
            writer.finish()
        return
    with unfinished_work(Path(path), plan) as work:
        writer = DataStoreWriter(work.fresh, operators, made, work)
        yield writer
        writer.finish()


class DataStoreWriter:
    """Adds samples to a store that nobody can see yet; made by `create_store`."""

    def __init__(
        self,
        path: Path,
        operators: Mapping[str, OperatorSpec],
        made: Mapping[str, Any],
        work: UnfinishedWork | None = None,
    ) -> None:
        self._path = path
        self._work = work
        self._complete = CompletedParts(work.folder / "complete") if work else None
        self._operators: dict[str, OperatorEntry] = {}
        self._kinds: dict[str, str] = {}
        self._samples: dict[str, SampleEntry] = {}
        self._made = {
            "command": " ".join(sys.argv),
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            **made,
        }
        for kind in ("", "operators", "samples"):
            _new_group(path / kind)
        for name, spec in operators.items():
            self.add_operator(name, spec)

    def add_operator(self, name: str, spec: OperatorSpec) -> None:
        """Write an operator, unless an earlier run has.

        Raises
        ------
        InputError
            The name is taken by another operator, or not allowed.
        """
        check_name("operator", name)
        taken = self._operators.get(name)
        if taken is not None and taken.fingerprint != spec.fingerprint:
            msg = f"operators must have different names, got {name!r} of two"
            raise InputError(msg)
        self._kinds[name] = spec.kind
        part = f"operator-{name}"
        record = self._record(part)
        if record is not None:
            self._operators[name] = OperatorEntry.model_validate(record)
        if name in self._operators:
            return
        folder = self._cleared("operators", name)
        arrays = {
            field: write_array(
                folder / field, values, chunks_of(values.shape, by_view=False), digest=True
            )
            for field, values in spec.arrays.items()
        }
        entry = OperatorEntry(document=spec.document(), fingerprint=spec.fingerprint, arrays=arrays)
        self._operators[name] = entry
        self._keep(part, entry)

    def take_over(self, sample_id: str) -> SampleInfo | None:
        """Take a sample that an earlier run completed, with its operator; None if it has not."""
        record = self._record(f"sample-{sample_id}")
        if record is None:
            return None
        sample = SampleEntry.model_validate(record)
        operator = self._record(f"operator-{sample.info.operator}")
        if operator is None:
            return None
        self._operators[sample.info.operator] = OperatorEntry.model_validate(operator)
        self._samples[sample_id] = sample
        if self._work is not None:
            self._work.worth_keeping = True
        return sample.info

    def add_sample(self, info: SampleInfo, arrays: Arrays) -> None:
        """Write one sample: float32, or complex64 where an array is complex.

        Parameters
        ----------
        info
            Its header entry.
        arrays
            Names from `SAMPLE_ARRAYS` with their arrays, each written before the next is asked
            for; ``reference`` and ``residual_backprojection`` may be left out where there is no
            reference.

        Raises
        ------
        InputError
            The id is taken, the operator unknown, an array missing, unknown or not finite.
        """
        if info.operator not in self._kinds or info.id in self._samples:
            msg = (
                f"sample must have a new id and an operator of {sorted(self._operators)}, "
                f"got id {info.id!r}, operator {info.operator!r}"
            )
            raise InputError(msg)
        folder = self._cleared("samples", info.id)
        pairs = arrays.items() if isinstance(arrays, Mapping) else arrays
        entries: dict[str, ArrayEntry] = {}
        for name, values in pairs:
            if name not in SAMPLE_ARRAYS:
                msg = f"arrays must be of {SAMPLE_ARRAYS}, got {name}"
                raise InputError(msg)
            entries[name] = self._write(folder / name, name, values, info)
            del values  # the next one is made now
        if not set(REQUIRED_ARRAYS) <= set(entries):
            msg = f"arrays must include {REQUIRED_ARRAYS}, got {sorted(entries)}"
            raise InputError(msg)
        entry = SampleEntry(info=info, arrays=entries)
        self._samples[info.id] = entry
        self._keep(f"sample-{info.id}", entry)

    def finish(self) -> None:
        """Check what is kept of several runs, and write the header, which makes it a data store.

        Raises
        ------
        InputError
            There is no sample, or the header is not valid.
        DataStoreError
            An array does not read back.
        """
        header = make_header(self._operators, self._samples.values(), self._made)
        if self._complete is not None:
            self._verify(self._complete)
        zarr.open_group(self._path, mode="r+").attrs.put(to_attributes(header))

    def _verify(self, complete: CompletedParts) -> None:
        """Read every chunk; what is damaged is complete no more."""
        parts = [
            (f"{kind}-{name}", self._path / f"{kind}s" / name, entry.arrays)
            for kind, entries in (("operator", self._operators), ("sample", self._samples))
            for name, entry in entries.items()
        ]
        problems = []
        for part, folder, arrays in parts:
            try:
                for name, entry in arrays.items():
                    with damage_reported(folder / name):
                        CheckedArray(folder / name, entry).verify()
            except DataStoreError as error:
                complete.remove(part)
                problems.append((part, str(error)))
        if problems:
            again = ", ".join(part for part, _ in problems)
            msg = f"{problems[0][1]}; run the same command again, which makes {again} again"
            raise DataStoreError(msg)

    def _write(self, path: Path, name: str, values: np.ndarray, info: SampleInfo) -> ArrayEntry:
        dtype = np.complex64 if np.iscomplexobj(values) else np.float32
        stored = np.ascontiguousarray(values, dtype=dtype)
        check_finite(name, stored, f"sample {info.id}")
        by_view = name == "measurements" and self._kinds[info.operator] in VIEW_KINDS
        attributes = {
            "sample": info.id,
            "operator": info.operator,
            "fingerprint": self._operators[info.operator].fingerprint,
            "intensity_per_mm": info.intensity_per_mm,
            "inverse_crime": info.inverse_crime,
        }
        chunks = chunks_of(stored.shape, by_view=by_view)
        return write_array(path, stored, chunks, attributes, digest=True)

    def _record(self, part: str) -> dict[str, Any] | None:
        return None if self._complete is None else self._complete.read(part)

    def _keep(self, part: str, entry: OperatorEntry | SampleEntry) -> None:
        if self._complete is None or self._work is None:
            return
        self._complete.write(part, entry.model_dump(mode="json"))
        self._work.worth_keeping |= isinstance(entry, SampleEntry)

    def _cleared(self, kind: str, name: str) -> Path:
        """Make a group, in the place of what a killed run did not complete."""
        folder = self._path / kind / name
        if folder.exists():
            shutil.rmtree(folder)
        return _new_group(folder)


def _new_group(path: Path) -> Path:
    """Make a group whose members, if there are any, stay."""
    (path / "zarr.json").unlink(missing_ok=True)  # a kill may have left half of it
    zarr.create_group(path, zarr_format=3)
    return path
