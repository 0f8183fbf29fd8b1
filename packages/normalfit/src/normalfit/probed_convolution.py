"""ProbedConvolution: the linear map from kernels to their convolutions with fixed probes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from normalfit.lag_grid import LagGrid

_SPECTRA_BYTES = 2**28  # spectra kept instead of computed again: a third of the FFTs saved


class ProbedConvolution:
    """``h -> (crop(h ∗ w_m))_m`` for probes ``w_m``, and its adjoint.

    Works probe by probe. The probes' padded spectra are kept where all of them fit into 256 MiB,
    and otherwise computed at every use, so that memory does not grow with the probes.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid of the probes.
    probes
        ``w_m``, each ``(*shape)``.
    """

    def __init__(self, grid: LagGrid, probes: torch.Tensor | Sequence[torch.Tensor]) -> None:
        self.grid = grid
        self._probes = probes
        self._half = not probes[0].is_complex()
        spectrum_bytes = probes[0].element_size() * math.prod(grid.fft_shape)  # real: half of it
        keeps_all = len(probes) * spectrum_bytes <= _SPECTRA_BYTES
        # forward and adjoint alternate between probes, so one spectrum is worth keeping always
        self._spectrum = lru_cache(len(probes) if keeps_all else 1)(self._transform)

    @property
    def energy(self) -> float:
        """``Σ_m |w_m|²`` per voxel: what the probes weigh; their number, if they are Gaussian."""
        total = sum(float(torch.linalg.vector_norm(w)) ** 2 for w in self._probes)
        return total / math.prod(self.grid.shape)

    def forward(self, kernels: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``h_k ∗ w`` of shape ``(terms, *shape)`` for every probe."""
        spectrum = self.grid.spectrum(kernels, half=self._half)
        for index in range(len(self._probes)):
            yield self.grid.inverse(self._spectrum(index) * spectrum, half=self._half)

    def adjoint(self, images: Iterable[torch.Tensor]) -> torch.Tensor:
        """Return ``Σ_m correlate(w_m, y_m)``, ``(terms, *lags)``, of one image per probe.

        Parameters
        ----------
        images
            ``y_m``, each ``(terms, *shape)``; may be an iterator.
        """
        total: torch.Tensor | None = None
        for index, image in enumerate(images):
            spectrum = self.grid.transform(image, half=self._half)
            product = self._spectrum(index).conj() * spectrum
            total = product if total is None else total.add_(product)
        assert total is not None  # noqa: S101 - a probe set is never empty
        return self.grid.inverse_lags(total, half=self._half)

    def _transform(self, index: int) -> torch.Tensor:
        return self.grid.transform(self._probes[index], half=self._half)
