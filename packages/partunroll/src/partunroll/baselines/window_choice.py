"""choose_window: the filter of filtered backprojection that suits a set of samples best."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from partunroll.initial.fdk import fdk
from partunroll.initial.ramp_filter import WINDOWS
from partunroll.volumes.image_metrics import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.operators.cone_beam import ConeBeam
    from partunroll.store.data_store import DataStore, SampleInfo

CUTOFFS = (1.0, 0.8, 0.6, 0.45)  # of the Nyquist frequency


@dataclass(frozen=True)
class FilterWindow:
    """A window of the ramp filter, and the mean PSNR that it reached where it was chosen."""

    window: str
    cutoff: float
    psnr: float

    def __str__(self) -> str:
        return f"{self.window}, cutoff {self.cutoff:g}"


def choose_window(
    store: DataStore, samples: Sequence[SampleInfo], operator: ConeBeam
) -> FilterWindow:
    """Return the window and cutoff with the highest mean PSNR of FDK over samples.

    Costs one FDK per sample, window and cutoff.
    """
    pairs = [
        (torch.from_numpy(store.read(s.id, "measurements")), _reference(store, s)) for s in samples
    ]

    def score(window: str, cutoff: float) -> FilterWindow:
        figures = [
            Comparison.with_reference(reference).psnr(fdk(operator, y, window, cutoff), reference)
            for y, reference in pairs
        ]
        return FilterWindow(window, cutoff, fmean(figures))

    candidates = [score(*pair) for pair in itertools.product(WINDOWS, CUTOFFS)]
    return max(candidates, key=lambda candidate: candidate.psnr)


def _reference(store: DataStore, sample: SampleInfo) -> torch.Tensor:
    return torch.from_numpy(store.read(sample.id, "reference"))
