"""StoredScan: measurements in memory, and an initial estimate that is written slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from partunroll.errors import InputError
from partunroll.initial.initial_estimate import estimate_method
from partunroll.initial.initial_slabs import filtered_slabs, given_slabs, open_planes
from partunroll.initial.ramp_filter import check_window
from partunroll.measurements.scan import check_fingerprint, check_intensity, scan_notes
from partunroll.reconstruction.work_folder import INITIAL
from partunroll.volumes.resampling import HIGH_PERCENTILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.measurements.scan import Intensity
    from partunroll.reconstruction.work_folder import WorkFolder

_SAMPLES = 2**20  # voxels that tell how far an estimate reaches


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
        What measurements in another unit are divided by.

    Raises
    ------
    InputError
        The estimate is made from the whole volume at once, its file has another shape or is not
        finite, or the intensity is 'auto', which takes two passes.
    MismatchError
        The estimate is another operator's.
    """
    operator, y, attributes = measured
    if intensity_per_mm == "auto":
        msg = "intensity_per_mm must be a number where volumes stay on disk, got 'auto'"
        raise InputError(msg)
    if intensity_per_mm is not None:
        check_intensity(intensity_per_mm)
    scale = 1.0 if intensity_per_mm is None else intensity_per_mm
    if initial is None:
        check_window(window, 1.0)
        how = f"{estimate_method(operator, method).upper()}, window {window}"
        slabs = filtered_slabs(operator, y, planes, window, method)
    else:
        values = open_planes(initial, operator.domain.shape)
        if hasattr(values, "attrs"):
            check_fingerprint("initial estimate", dict(values.attrs), spec)
        how, slabs = None, given_slabs(values, planes)
    if work.finished(INITIAL) is None:
        facts = _write(work, (slab / scale for slab in slabs)) if work.ranks.is_first else {}
        work.finish(INITIAL, **facts)
    notes = scan_notes(attributes, (work.finished(INITIAL) or {})["reaches"])
    return StoredScan(operator, y / scale, intensity_per_mm, how, attributes, notes)


def _write(work: WorkFolder, slabs: Iterator[torch.Tensor]) -> dict[str, float]:
    writer, samples = work.writer(INITIAL), []
    step = max(1, int(np.prod(work.shape)) // _SAMPLES)
    for slab in slabs:
        if not bool(slab.isfinite().all()):
            msg = "initial estimate must be finite, got NaN or infinity; replace them before"
            raise InputError(msg)
        samples.append(slab.abs().cpu().numpy().ravel()[::step])
        writer.write(slab)
    return {"reaches": float(np.percentile(np.concatenate(samples), HIGH_PERCENTILE))}
