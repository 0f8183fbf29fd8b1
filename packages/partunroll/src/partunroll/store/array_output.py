"""save_array: one array to .npy or .zarr, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from normalfit.written_beside import check_output, written_beside
from partunroll.errors import InputError
from partunroll.store.data_store_arrays import write_array
from partunroll.store.data_store_header import chunks_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDINGS = (".npy", ".zarr")


def check_array_output(path: Path) -> None:
    """Refuse an output that `save_array` could not write, before anything is computed.

    Raises
    ------
    InputError
        Its ending is unknown, it exists, or its folder does not.
    """
    if path.suffix not in ENDINGS:
        msg = f"output must end in {' or '.join(ENDINGS)}, got {path}"
        raise InputError(msg)
    check_output(path)


def save_array(path: Path, values: np.ndarray, attributes: Mapping[str, object]) -> None:
    """Write an array beside its place, and rename it.

    Parameters
    ----------
    path
        A new path that ends in ``.npy`` or ``.zarr``.
    values
        float32 or complex64.
    attributes
        JSON values kept with a Zarr array; ``.npy`` has no room for them.

    Raises
    ------
    InputError
        As `check_array_output`.
    """
    check_array_output(path)
    with written_beside(path) as fresh:
        if path.suffix == ".npy":
            np.save(fresh, values)
        else:
            write_array(fresh, values, chunks_of(values.shape, by_view=False), attributes)
