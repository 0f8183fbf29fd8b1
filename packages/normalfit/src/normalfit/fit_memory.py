"""FitMemory: what a least-squares fit will hold at its peak, said before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.devices import free_bytes
from normalfit.errors import InputError
from normalfit.probed_terms import SPECTRA_BYTES

if TYPE_CHECKING:
    from normalfit.model import Model

# Arrays that are alive together at the peak, in the kernel step. Measured beyond the process, as
# share of what this says: cone beam 64³ with 1, 2 and 3 terms 0.97, 0.97 and 0.78, 256³ with one
# term 0.95 (14.4 GB in all).
_KERNEL_ARRAYS = 19
_PAIR_ARRAYS = 7  # of one kernel entry for each pair of terms: gram, blocks, inverse
_SPECTRA = 4
_IMAGES = 20  # of the diagonal step with its conjugate gradients
# Of all unknowns: the history of L-BFGS, its gradients and directions. Measured: 64³, two coils.
_DESCENT_ARRAYS = 36
_PROCESS_BYTES = 8 * 10**8  # Python with torch, numba and scipy  # our choice


@dataclass(frozen=True)
class FitMemory:
    """Bytes at the peak of a fit, beyond what the operator itself needs.

    Parameters
    ----------
    factors
        Kernels, their spectra and images while they are fitted.
    responses
        Probes and responses that are kept in memory.
    """

    factors: int
    responses: int

    @property
    def total(self) -> int:
        """Their sum, with that of the process."""
        return self.factors + self.responses + _PROCESS_BYTES

    def __str__(self) -> str:
        return (
            f"{self.total / 1e9:.1f} GB ({self.factors / 1e9:.1f} for the factors, "
            f"{self.responses / 1e9:.1f} for probes and responses)"
        )

    def check(self, device: torch.device) -> None:
        """Refuse a fit that would not fit.

        Raises
        ------
        InputError
            The device has less free memory.
        """
        free = free_bytes(device)
        if free is not None and self.total > free:
            msg = (
                f"fit must fit into the {free / 1e9:.1f} GB that are free, got {self}; use "
                "fewer terms, fewer lags, or a folder for the responses"
            )
            raise InputError(msg)


def fit_memory(
    model: Model,
    shape: tuple[int, ...],
    *,
    probes: int,
    in_memory: bool,
    dtype: torch.dtype = torch.float32,
) -> FitMemory:
    """Return what a least-squares fit needs.

    Parameters
    ----------
    model
        What is fitted.
    shape
        Of the grid.
    probes
        All that are kept at a time: to fit to, and to guide.
    in_memory
        Whether the responses are kept there, and not in a folder.
    dtype
        Of the probes.
    """
    size, most_terms = dtype.itemsize, model.most_terms(shape)
    grid = model.lag_grid(shape)
    kernels = 1 if model.name == "multicoil" else most_terms
    lags, voxels = math.prod(grid.lags) * size, math.prod(shape) * size
    # half of the frequencies of real probes, twice the bytes
    spectrum = math.prod(grid.fft_shape) * size
    # two maps, that of the terms and that of a direction, where a step is as long as it should be
    kept = 2 * min(SPECTRA_BYTES, probes * most_terms * spectrum)
    pairs = kernels**2 if kernels > 1 else 0
    factors = (
        kernels * (_KERNEL_ARRAYS * lags + spectrum)
        + _PAIR_ARRAYS * pairs * lags
        + most_terms * (_SPECTRA * spectrum + _IMAGES * voxels)
        + most_terms**2 * 2 * voxels
        + kept
    )
    if model.name == "multicoil":
        factors += _DESCENT_ARRAYS * (lags + most_terms * voxels)
    return FitMemory(factors, 2 * probes * voxels if in_memory else 0)
