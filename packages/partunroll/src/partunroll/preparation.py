"""prepare: a data store out of measured data, and references where there are some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.progress import Progress

from normalfit.devices import resolve_device
from normalfit.written_beside import check_output
from partunroll.data_store import DataStoreWriter, SampleInfo, create_store
from partunroll.data_summary import DataSummary, summarize
from partunroll.errors import InputError
from partunroll.initial_estimate import initial_estimate
from partunroll.object_sources import safe_name, unique_names
from partunroll.resampling import HIGH_PERCENTILE
from partunroll.sample_arrays import sample_arrays
from partunroll.scan import check_fingerprint
from partunroll.undersampling import check_sampled, undersample
from partunroll.volume_file import of_shape, read_measurements, read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.data_store_header import Split
    from partunroll.initial_estimate import Method

LARGE_RESIDUAL = 0.5  # a reference that explains less than this is noted; our choice


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
        Files, options or output do not meet their requirements; nothing is left then.
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
    target = resolve_device(device)
    operator = spec.build(backend)
    run = _Run(
        spec, operator, name, purpose, intensity_per_mm, undersampled, window, method, target
    )
    shown = progress or Progress(disable=True)
    made = {
        "by": "prepare",
        "intensity_per_mm": intensity_per_mm,
        "undersampled": undersampled,
    }
    notes: list[str] = []
    with create_store(output, {name: spec}, made) as writer:
        ids = unique_names(safe_name(measured) for measured, _ in pairs)
        named = list(zip(ids, pairs, strict=True))
        for sample_id, (measured, volume) in shown.track(named, description="prepare"):
            notes += run.add_sample(writer, sample_id, measured, volume)
    return summarize(output, tuple(notes))


@dataclass(frozen=True)
class _Run:
    spec: OperatorSpec
    operator: LinearOperator
    name: str
    split: Split
    intensity_per_mm: float | None
    undersampled: bool
    window: str
    method: Method
    device: torch.device

    @torch.no_grad()
    def add_sample(
        self, writer: DataStoreWriter, sample_id: str, measured: str, volume: str | None
    ) -> list[str]:
        """Add one sample and return what there is to note about it."""
        file = read_measurements(measured)
        check_fingerprint("measurements", file.attributes, self.spec)
        y = _of_shape("measurements", file.values, self.operator.range.shape)
        x = None
        if volume is not None:
            values = read_volume(volume, complex_allowed=self.operator.is_complex)[0]
            x = _of_shape("reference", values, self.operator.domain.shape)
        y = y.to(self.device)
        if self.operator.is_complex and not y.is_complex():
            msg = f"measurements must be complex, as k-space is, got {y.dtype} in {measured}"
            raise InputError(msg)
        if self.undersampled:
            parts = undersample(self.operator, y)
            y, x = parts.measurements, parts.reference
        check_sampled(self.operator, y)
        intensity = self._intensity(x, y)
        arrays = sample_arrays(
            self.operator,
            y / intensity,
            None if x is None else x.to(y) / intensity,
            window=self.window,
            method=self.method,
        )
        info = SampleInfo(
            id=sample_id,
            operator=self.name,
            split=self.split,
            source=measured,
            intensity_per_mm=intensity,
            initial_method=arrays.initial_method,
            initial_window=None if arrays.initial_method == "least-squares" else self.window,
            relative_residual=arrays.relative_residual,
        )
        writer.add_sample(info, arrays.values)
        return _notes(info)

    def _intensity(self, x: torch.Tensor | None, y: torch.Tensor) -> float:
        if self.intensity_per_mm is not None:
            intensity = self.intensity_per_mm
        else:
            if x is None:
                x = initial_estimate(self.operator, y, self.window, self.method).abs()
            values = x.abs() if x.is_complex() else x
            intensity = float(np.percentile(values.cpu().numpy(), HIGH_PERCENTILE))
        if not (np.isfinite(intensity) and intensity > 0):
            msg = (
                f"intensity_per_mm must be a positive number, got {intensity}; "
                "give it where the reference has no positive values"
            )
            raise InputError(msg)
        return intensity


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


def _notes(info: SampleInfo) -> list[str]:
    if info.relative_residual is None or info.relative_residual <= LARGE_RESIDUAL:
        return []
    return [
        f"sample {info.id}: the reference leaves {info.relative_residual:.0%} of the measurements "
        "unexplained; check its unit, its axes and the geometry"
    ]
