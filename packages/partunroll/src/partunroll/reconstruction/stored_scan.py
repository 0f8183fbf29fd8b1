"""StoredScan: measurements in memory, and an initial estimate that is written slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from partunroll.initial.initial_estimate import estimate_method
from partunroll.initial.initial_slabs import filtered_slabs, given_slabs, open_planes
from partunroll.initial.ramp_filter import check_window
from partunroll.measurements.scan import check_fingerprint, check_intensity, scan_notes
from partunroll.reconstruction.stored_estimate import store_estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.measurements.scan import Intensity
    from partunroll.reconstruction.work_folder import WorkFolder


@dataclass(frozen=True, eq=False)
class StoredScan:
    """What a reconstruction on disk starts from; fields as those of `Scan`.

    Parameters
    ----------
    operator, measurements, intensity_per_mm, initial_method, attributes, notes
        As for `Scan`; the initial estimate is in the work folder.
    """

    operator: LinearOperator
    measurements: torch.Tensor
    intensity_per_mm: float | None
    initial_method: str | None
    attributes: Mapping[str, Any]
    notes: tuple[str, ...]


@torch.no_grad()
def store_scan(
    spec: OperatorSpec,
    measured: tuple[LinearOperator, torch.Tensor, Mapping[str, Any]],
    work: WorkFolder,
    planes: int,
    *,
    initial: Path | None = None,
    window: str = "hann",
    method: Method = "auto",
    intensity_per_mm: Intensity = None,
) -> StoredScan:
    """Write the initial estimate to a work folder, unless it is there; return the scan.

    Parameters
    ----------
    spec, initial, window, method
        As for `load_scan`; an initial estimate is a Zarr array or .npy.
    measured
        Operator, measurements and attributes, from `load_measurements`.
    work
        Where the volumes are.
    planes
        Planes that are made at a time.
    intensity_per_mm
        What measurements in another unit are divided by; as for `load_scan`.

    Raises
    ------
    InputError
        The estimate's file has another shape, cannot be read by planes or is not finite, or the
        intensity is not positive.
    MismatchError
        The estimate is another operator's.
    """
    operator, y, attributes = measured
    if isinstance(intensity_per_mm, float):
        check_intensity(intensity_per_mm)
    slabs: Iterator[torch.Tensor] | None = None
    if initial is not None:
        values = open_planes(initial, operator.domain.shape, is_complex=operator.is_complex)
        if hasattr(values, "attrs"):
            check_fingerprint("initial estimate", dict(values.attrs), spec)
        how, slabs = None, given_slabs(values, planes)
    elif (used := estimate_method(operator, method)) == "least-squares":
        how = "least squares"
    else:
        check_window(window, 1.0)
        how = f"{used.upper()}, window {window}"
        slabs = filtered_slabs(operator, y, planes, window, method)
    scale, reaches = store_estimate(slabs, operator, y, work, planes, intensity_per_mm)
    intensity = None if intensity_per_mm is None else scale
    notes = scan_notes(attributes, reaches)
    return StoredScan(operator, y / scale, intensity, how, attributes, notes)
