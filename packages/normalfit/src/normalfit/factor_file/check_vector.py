"""The check vector: a probe and its response on a patch, by which a reader knows it reads right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.factor_file.header import CHUNK_SIDE, CheckEntry
from normalfit.grid import Patch
from normalfit.restriction import restrict

if TYPE_CHECKING:
    from normalfit.factors import Factors

_SEED = 20
TOLERANCE = 1e-6  # of the largest entry of the response; double precision leaves 1e-13


@dataclass(frozen=True, eq=False)
class CheckVector:
    """A probe and its response ``P B Pᵀ w`` in double precision, on a patch P.

    Parameters
    ----------
    patch
        The patch: the central 64 voxels of every axis, or the whole axis.
    probe, response
        Of the patch's shape, float64 or complex128.
    seed
        Of the probe, for the record: the probe itself is stored.
    """

    patch: Patch
    probe: np.ndarray
    response: np.ndarray
    seed: int = _SEED

    @property
    def entry(self) -> CheckEntry:
        """What the header says about it."""
        return CheckEntry(offset=self.patch.offset, shape=self.patch.shape, seed=self.seed)


def make_check(factors: Factors) -> CheckVector:
    """Return a check vector of factors."""
    sides = tuple(min(n, CHUNK_SIDE) for n in factors.shape)
    offset = tuple((n - side) // 2 for n, side in zip(factors.shape, sides, strict=True))
    patch = Patch(offset, sides)
    probe = _probe(sides, is_complex=factors.is_complex)
    return CheckVector(patch, probe, response_of(restrict(factors, patch), probe))


def response_of(restricted: Factors, probe: np.ndarray) -> np.ndarray:
    """Return the response of restricted factors to a probe, in double precision."""
    wide = torch.complex128 if restricted.is_complex else torch.float64
    return restricted.to("cpu", wide)(torch.from_numpy(probe)).numpy()


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two responses, relative to the largest expected entry."""
    difference, largest = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    return difference / largest if largest else difference


def _probe(shape: tuple[int, ...], *, is_complex: bool) -> np.ndarray:
    generator = np.random.default_rng(_SEED)
    probe = generator.standard_normal(shape)
    if not is_complex:
        return probe
    return (probe + 1j * generator.standard_normal(shape)) / np.sqrt(2)
