"""A scan of any size on disk, made and not measured: a data store, its factors, and a volume.

What is in it decides neither memory nor time: a ball, a gradient of noise, a kernel that falls as
1/r² with few lags, and one diagonal. A fit would cost more than what is measured with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import SpectralNorm
from partunroll.store.data_store import SampleInfo, create_store
from partunroll.store.stored_volume import StoredVolume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from normalfit.specs import OperatorSpec

NORM = 1.0  # of a made operator's A*A, in the units of its factors
LAGS = 17


@dataclass(frozen=True)
class LargeProblem:
    """The files of a scan of `size` voxels along each axis, in a folder."""

    folder: Path
    size: int

    @property
    def data(self) -> Path:
        """The data store, of one training sample."""
        return self.folder / "data.zarr"

    @property
    def factors(self) -> Path:
        """The factor file."""
        return self.folder / "factors.zarr"

    @property
    def volume(self) -> StoredVolume:
        """What a prior is applied to."""
        return StoredVolume(self.folder / "x", (self.size,) * 3, np.dtype(np.float32))

    @property
    def spec(self) -> OperatorSpec:
        """The operator: a cone beam of few views that sees the whole grid."""
        document = {
            "kind": "cone_beam", "volume_shape": [self.size] * 3, "voxel_mm": 1.0,
            "detector_shape": [round(1.25 * self.size), round(1.6 * self.size)], "pixel_mm": 1.5,
            "num_views": 12, "source_origin_mm": 4.0 * self.size,
            "origin_detector_mm": 2.0 * self.size,
        }  # fmt: skip
        return spec_from_document(document, {})

    def make(self) -> None:
        """Write the files; holds one volume at a time, and the checks of one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_factors()
        info = SampleInfo(
            id="a", operator="scan", split="train", source="made", inverse_crime=True,
            initial_method="fdk", initial_window="hann",
        )  # fmt: skip
        with create_store(self.data, {"scan": self.spec}, {"made": "large_problem"}) as store:
            store.add_sample(info, self._arrays())
        writer = self.volume.writer()
        for start in range(0, self.size, 32):
            writer.write(self._ball(start, min(start + 32, self.size)))

    def _arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        spec = self.spec
        yield "measurements", np.zeros(spec.build().range.shape, np.float32)
        for name in ("reference", "initial_estimate"):
            yield name, self._ball(0, self.size)
        for name in ("residual_backprojection", "backprojection"):
            yield name, 0.01 * self._ball(0, self.size)

    def _ball(self, start: int, stop: int) -> np.ndarray:
        """Return planes of a ball whose density falls outwards, in 64 steps."""
        square = np.linspace(-1, 1, self.size, dtype=np.float32) ** 2
        planes = np.empty((stop - start, self.size, self.size), np.float32)
        for plane, z in zip(planes, square[start:stop], strict=True):
            np.clip(1 - z - square[:, None] - square, 0, 1, out=plane)
            np.round(64 * plane, out=plane)
            plane /= 64
        return planes

    def _write_factors(self) -> None:
        axis = torch.arange(LAGS, dtype=torch.float32) - LAGS // 2
        kernel = 1 / (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).clamp_min(0.5)
        kernel *= NORM / kernel.sum()
        u = torch.from_numpy(self._ball(0, self.size))[None].mul_(0.5).add_(0.5)
        factors = Factors(LagKernel(kernel[None], (self.size,) * 3, ("linear",) * 3), u)
        norm = SpectralNorm(NORM, False, 1)
        spec = self.spec
        save_factors(self.factors, factors, FactorMetadata(spec, spec.fingerprint, norm, 0.0))


def network_document(iterations: int, widths: list[int]) -> dict[str, Any]:
    """Return the network that the problems are worked on with."""
    return {"iterations": iterations, "prior": {"widths": widths, "dim": 3}}
