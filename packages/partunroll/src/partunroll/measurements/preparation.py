"""prepare: a data store out of measured data, and references where there are some."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from normalfit.devices import resolve_device
from normalfit.written_beside import check_output
from partunroll.errors import InputError
from partunroll.measurements.prepared_samples import Preparation, SampleSource, store_samples
from partunroll.measurements.scan import check_fingerprint
from partunroll.measurements.undersampling import undersample
from partunroll.objects.object_sources import safe_name, unique_names
from partunroll.store.source_stamp import source_stamp
from partunroll.volumes.volume_file import of_shape, read_measurements, read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from rich.progress import Progress

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.store.data_store_header import Split
    from partunroll.store.data_summary import DataSummary


def prepare(
    spec: OperatorSpec,
    measurements: Path | str | Sequence[Path | str],
    reference: Path | str | Sequence[Path | str] | None,
    output: Path | str,
    *,
    name: str = "operator",
    intensity_per_mm: float | None = None,
    split: Split | None = None,
    undersampled: bool = False,
    window: str = "hann",
    method: Method = "auto",
    backend: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DataSummary:
    """Store measured data with their references as training needs them.

    Volumes of a store are about 1 in the object: x is the reference divided by
    `intensity_per_mm`, and y are the measurements divided by the same number, so that
    ``y = A x + noise`` still holds.

    Parameters
    ----------
    spec
        The operator that measured.
    measurements
        One file or several, of the shape of the operator's range; line integrals for tomography.
    reference
        As many volumes on the operator's grid, in the same unit as what `initial_estimate`
        returns for the measurements (1/mm for line integrals). None where there are none: the
        samples then have no reference and no residual, and cannot be trained on.
    output
        The data store to make.
    name
        Name of the operator in the store.
    intensity_per_mm
        What becomes 1; by default the 99.9th percentile of each reference or, without one, of
        the initial estimate.
    split
        What the samples are for; by default 'train' with references and 'test' without.
    undersampled
        The measurements are fully sampled k-space: the operator's mask is applied to them, and
        the reference is their coil-combined image, so that none may be given.
    window, method
        As for `initial_estimate`.
    backend, device
        Where projections are computed; the backend replaces that of the spec.
    progress
        Shows a task with one step per sample.

    Returns
    -------
    DataSummary
        What the store holds, with a note for each reference that does not explain its
        measurements.

    Raises
    ------
    InputError
        Files, options or output do not meet their requirements. Samples that were complete are
        kept for the next run with the same arguments, as they are when the process is killed;
        without any, nothing is left.
    """
    output = Path(output)
    check_output(output)
    pairs = _pairs(measurements, reference)
    if undersampled and reference is not None:
        msg = f"reference must be left out with full k-space, which makes it, got {reference}"
        raise InputError(msg)
    known = undersampled or reference is not None
    purpose: Split = split or ("train" if known else "test")
    if purpose == "train" and not known:
        msg = "split must be 'test' or 'validation' without references, got 'train'"
        raise InputError(msg)
    how = Preparation(intensity_per_mm, window, method, backend, resolve_device(device))
    ids = unique_names(safe_name(measured) for measured, _ in pairs)
    sources = [
        SampleSource(
            id=sample_id,
            operator=name,
            split=purpose,
            source=measured,
            spec=lambda: spec,
            read=partial(_read, spec, measured, volume, undersampled=undersampled),
        )
        for sample_id, (measured, volume) in zip(ids, pairs, strict=True)
    ]
    made = {
        "by": "prepare",
        "intensity_per_mm": intensity_per_mm,
        "undersampled": undersampled,
    }
    inputs = [[source_stamp(m), v and source_stamp(v)] for m, v in pairs]
    spec.build(backend)  # refuses what would fail with every sample
    return store_samples(sources, output, how, made, [spec.fingerprint, *inputs], progress)


def _read(
    spec: OperatorSpec,
    measured: str,
    volume: str | None,
    operator: LinearOperator,
    *,
    undersampled: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return y and x* of one sample."""
    file = read_measurements(measured)
    check_fingerprint("measurements", file.attributes, spec)
    y = _of_shape("measurements", file.values, operator.range.shape)
    x = None
    if volume is not None:
        values = read_volume(volume, complex_allowed=operator.is_complex)[0]
        x = _of_shape("reference", values, operator.domain.shape)
    if operator.is_complex and not y.is_complex():
        msg = f"measurements must be complex, as k-space is, got {y.dtype} in {measured}"
        raise InputError(msg)
    if undersampled:
        parts = undersample(operator, y)
        y, x = parts.measurements, parts.reference
    return y, x


def _pairs(
    measurements: Path | str | Sequence[Path | str],
    reference: Path | str | Sequence[Path | str] | None,
) -> list[tuple[str, str | None]]:
    measured = _listed(measurements)
    volumes = [None] * len(measured) if reference is None else _listed(reference)
    if not measured or len(measured) != len(volumes):
        msg = (
            "measurements and references must be equally many files, at least one, "
            f"got {len(measured)} and {len(volumes)}"
        )
        raise InputError(msg)
    return list(zip(measured, volumes, strict=True))


def _listed(paths: Path | str | Sequence[Path | str]) -> list[str]:
    return [str(paths)] if isinstance(paths, (str, Path)) else [str(path) for path in paths]


def _of_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(of_shape(name, values, shape))
