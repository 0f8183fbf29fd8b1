"""stored_foreground: the foreground map of a stored reference, kept in its store once counted."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import zarr

from normalfit.errors import NormalfitError
from normalfit.written_beside import written_beside
from partunroll.errors import PartunrollError
from partunroll.store.data_store_arrays import CheckedArray, damage_reported, write_array
from partunroll.store.data_store_header import ArrayEntry
from partunroll.training.foreground import ForegroundMap

if TYPE_CHECKING:
    from pathlib import Path

    from partunroll.store.data_store import DataStore


def stored_foreground(
    store: DataStore, sample: str, shape: tuple[int, ...], threshold: float
) -> ForegroundMap:
    """Return where a sample's reference is above a threshold.

    The reference is read once, whatever the number of runs, restarts and processes: the counts,
    8 bytes for each chunk, are kept as ``samples/ID/foreground-THRESHOLD``, an array that is no
    part of the store's header. They name the SHA-256 of the reference that they belong to; where
    that is another, or they are damaged, the reference is counted again. Nothing is kept where
    the store cannot be written, or is of version 0.1, without digests.

    Parameters
    ----------
    store
        The data store.
    sample
        Id of the sample.
    shape
        Voxels per axis of the reference.
    threshold
        As for `ForegroundMap`.

    Raises
    ------
    InputError
        No voxel is above the threshold.
    DataStoreError
        The reference is damaged.
    """
    folder = store.path / "samples" / sample / f"foreground-{threshold!r}"
    digest = store.array_digest(sample, "reference")
    counts = None if digest is None else _read(folder, digest)
    if counts is not None and len(counts) == ForegroundMap.num_blocks(shape):
        return ForegroundMap(shape, threshold, counts)
    found = ForegroundMap.of_volume(
        f"the reference of sample {sample}",
        shape,
        threshold,
        lambda block: store.read(sample, "reference", block),
    )
    if digest is not None and not folder.exists():
        # another process may be faster, or the store be read-only
        with suppress(NormalfitError, OSError), written_beside(folder) as fresh:
            chunks = found.counts.shape
            write_array(fresh, found.counts, chunks, {"reference_sha256": digest})
    return found


def _read(folder: Path, digest: str) -> np.ndarray | None:
    """Return the counts that belong to a reference; None where there are none, or damaged ones."""
    if not folder.is_dir():
        return None
    with suppress(PartunrollError), damage_reported(folder):
        array = zarr.open_array(folder, mode="r", zarr_format=3)
        if array.attrs.get("reference_sha256") != digest or array.dtype != np.int64:
            return None
        entry = ArrayEntry(shape=array.shape, dtype="int64", chunks=array.chunks)
        return CheckedArray(folder, entry).read()
    return None
