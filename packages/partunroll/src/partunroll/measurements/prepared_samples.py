"""store_samples: measured samples into a data store, one after the other, from where it stopped.

Memory: 4 volumes with filtered backprojection, 8 with least squares, and with either three sets
of measurements. The arrays of a sample are made one after the other, and written, read back and
verified a slab at a time. (Measured at 128³: 3.2 and 7.1 volumes.)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import Progress

from partunroll.errors import InputError
from partunroll.initial.initial_estimate import initial_estimate
from partunroll.measurements.undersampling import check_sampled
from partunroll.store.data_store import DataStoreWriter, SampleInfo, create_store
from partunroll.store.data_store_header import check_name
from partunroll.store.data_summary import DataSummary, summarize
from partunroll.store.sample_arrays import SampleArrays
from partunroll.versions import versions
from partunroll.volumes.resampling import HIGH_PERCENTILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method
    from partunroll.store.data_store_header import Split

LARGE_RESIDUAL = 0.5  # a reference that explains less than this is noted; our choice


@dataclass(frozen=True)
class SampleSource:
    """A sample to be: what is known of it before anything is read.

    Parameters
    ----------
    id
        Of the sample, one of its own.
    operator
        Name of its operator in the store.
    split
        What it is for.
    source
        Where it comes from.
    spec
        Returns the operator's spec.
    read
        Returns y and x* (None where there is no reference), given the operator. They belong to
        the caller, who may overwrite them.
    check
        Refuses measurements that do not belong to their reference, given y and ``A x*``.
    """

    id: str
    operator: str
    split: Split
    source: str
    spec: Callable[[], OperatorSpec]
    read: Callable[[LinearOperator], tuple[torch.Tensor, torch.Tensor | None]]
    check: Callable[[torch.Tensor, torch.Tensor], None] | None = None


@dataclass(frozen=True)
class Preparation:
    """How samples are prepared.

    Parameters
    ----------
    intensity_per_mm
        What becomes 1; None: the 99.9th percentile of each reference or, without one, of the
        initial estimate.
    window, method
        As for `initial_estimate`.
    backend
        Projector in place of the spec's; None: the spec's.
    device
        Where projections are computed.
    large_residual
        References that leave more of the measurements unexplained are noted.
    """

    intensity_per_mm: float | None
    window: str
    method: Method
    backend: str | None
    device: torch.device
    large_residual: float = LARGE_RESIDUAL

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "intensity_per_mm": self.intensity_per_mm,
            "window": self.window,
            "method": self.method,
            "backend": self.backend,
            "device": self.device.type,
        }

    @torch.no_grad()
    def add(
        self, writer: DataStoreWriter, source: SampleSource, operator: LinearOperator
    ) -> SampleInfo:
        """Read a sample, compute what training needs of it, and write it."""
        y, x = source.read(operator)
        y = y.to(self.device)
        if not bool(y.any()):
            msg = f"measurements must not all be zero, got those of {source.source}"
            raise InputError(msg)
        check_sampled(operator, y)
        intensity = self._intensity(operator, x, y)
        y = y.div_(intensity)
        x = None if x is None else x.to(y).div_(intensity)
        arrays = SampleArrays(
            operator, y, x, window=self.window, method=self.method, check=source.check
        )
        del x, y  # the arrays let go of them one by one
        method = arrays.initial_method
        info = SampleInfo(
            id=source.id,
            operator=source.operator,
            split=source.split,
            source=source.source,
            intensity_per_mm=intensity,
            initial_method=method,
            initial_window=None if method == "least-squares" else self.window,
            relative_residual=arrays.relative_residual,
        )
        writer.add_sample(info, arrays)
        return info

    def _intensity(
        self, operator: LinearOperator, x: torch.Tensor | None, y: torch.Tensor
    ) -> float:
        if self.intensity_per_mm is not None:
            intensity = self.intensity_per_mm
        else:
            if x is None:
                x = initial_estimate(operator, y, self.window, self.method).abs()
            values = x.abs() if x.is_complex() else x
            intensity = float(np.percentile(values.cpu().numpy(), HIGH_PERCENTILE))
        if not (np.isfinite(intensity) and intensity > 0):
            msg = (
                f"intensity_per_mm must be a positive number, got {intensity}; "
                "give it where the reference has no positive values"
            )
            raise InputError(msg)
        return intensity


def store_samples(
    sources: Sequence[SampleSource],
    output: Path,
    how: Preparation,
    made: Mapping[str, Any],
    inputs: Sequence[Any],
    progress: Progress | None = None,
) -> DataSummary:
    """Write a data store of the samples; goes on where a run with the same inputs was killed.

    Parameters
    ----------
    sources
        The samples, in their order.
    output
        The data store to make.
    how
        How they are prepared.
    made
        As for `create_store`; settings that decide how the samples are read are in it.
    inputs
        What else decides the samples, as JSON values: stamps of all files.
    progress
        Shows a task with one step per sample.

    Raises
    ------
    InputError, DataStoreError
        As `create_store`, two samples have one id, or a sample cannot be read.
    """
    _check_names(sources)
    plan = {
        "made": dict(made),
        "inputs": list(inputs),
        "how": how.document(),
        "samples": [[s.id, s.operator, s.split, s.source] for s in sources],
        "versions": versions(),
    }
    shown = progress or Progress(disable=True)
    notes: list[str] = []
    built: tuple[str, LinearOperator] | None = None
    with create_store(output, {}, made, plan=plan) as writer:
        for source in shown.track(sources, description="prepare"):
            info = writer.take_over(source.id)
            if info is None:
                if built is None or built[0] != source.operator:
                    built = None  # its arrays (coil maps) go before those of the next one come
                    spec = source.spec()
                    writer.add_operator(source.operator, spec)
                    built = source.operator, spec.build(how.backend)
                    del spec
                info = how.add(writer, source, built[1])
            notes += _notes(info, how.large_residual)
    return summarize(output, tuple(notes))


def _check_names(sources: Sequence[SampleSource]) -> None:
    """Refuse before anything is read what the store would refuse, or take for one sample."""
    for source in sources:
        check_name("sample", source.id)
        check_name("operator", source.operator)
    twice = [name for name, count in Counter(s.id for s in sources).items() if count > 1]
    if twice:
        msg = f"samples must have different ids, got {', '.join(twice)} twice"
        raise InputError(msg)


def _notes(info: SampleInfo, large_residual: float) -> list[str]:
    if info.relative_residual is None or info.relative_residual <= large_residual:
        return []
    return [
        f"sample {info.id}: the reference leaves {info.relative_residual:.0%} of the measurements "
        "unexplained; check its unit, its axes and the geometry"
    ]
