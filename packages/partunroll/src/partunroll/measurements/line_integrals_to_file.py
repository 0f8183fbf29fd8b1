"""line_integrals_to_file: line integrals from a file of raw detector counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.lib.npyio import NpzFile

from partunroll.errors import InputError
from partunroll.measurements.line_integrals import LineIntegrals, line_integrals
from partunroll.store.array_output import check_array_output, save_array

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

REQUIRED = ("projections", "flat")


def line_integrals_to_file(scan: Path, output: Path) -> LineIntegrals:
    """Correct the counts of a scan by its flat and dark fields, and write line integrals.

    Parameters
    ----------
    scan
        A ``.npz`` with ``projections`` and ``flat``, and ``dark`` where there is one; arrays as
        for `line_integrals`.
    output
        A new ``.npy`` or ``.zarr``, float32 ``(views, rows, columns)``.

    Raises
    ------
    InputError
        The file cannot be read, an array is missing or has another shape than the detector,
        a hole is too wide, or the output exists.
    """
    check_array_output(output)
    result = line_integrals(**_fields(scan))
    attributes = {"source": str(scan), "num_replaced": result.num_replaced}
    save_array(output, result.values, attributes)
    return result


def _fields(scan: Path) -> dict[str, np.ndarray]:
    try:
        with scan.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            names = archive.files
            fields = {name: archive[name] for name in (*REQUIRED, "dark") if name in names}
    except Exception as error:
        reason = " ".join(str(error).split())
        msg = f"scan must be a readable npz file, got {scan}: {reason}"
        raise InputError(msg) from error
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        msg = f"{scan} must hold arrays called {' and '.join(REQUIRED)}, got {', '.join(names)}"
        raise InputError(msg)
    return fields
