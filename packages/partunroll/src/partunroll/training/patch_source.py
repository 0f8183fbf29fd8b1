"""PatchSource: reads patches of a data store and restricted factors, from memory or from disk."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.factors import Factors
from normalfit.restriction import restrict_batch
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator
    from partunroll.training.training_operator import TrainingOperator


# Operators in memory at once: those of MRI hold coil maps, 0.9 GB at 256 × 218 × 170 with 12
# coils; three numbers of views fit.  # our choice
MAX_BUILT = 4


class PatchSource:
    """Patches of volumes and of factors, opened at first use.

    Parameters
    ----------
    store_path
        The data store.
    operators
        Its operators by name.
    cache
        Keep what has been read: whole volumes and whole factors, in memory.
    device
        Where the patches are wanted.
    """

    def __init__(
        self,
        store_path: Path,
        operators: Mapping[str, TrainingOperator],
        *,
        cache: bool,
        device: torch.device,
    ) -> None:
        self._store_path = store_path
        self._training_operators = operators
        self._cache = cache
        self._device = device
        self._volumes: dict[tuple[str, str], np.ndarray] = {}
        self._factors: dict[str, Factors] = {}
        self._built: dict[str, LinearOperator] = {}

    def read(self, array: str, samples: Sequence[str], patches: Sequence[Patch]) -> torch.Tensor:
        """Return one array of every sample on its patch, ``(batch, *p)``, float32 or complex64."""
        parts = [self.read_one(array, *item) for item in zip(samples, patches, strict=True)]
        return torch.from_numpy(np.stack(parts)).to(self._device)

    def read_one(self, array: str, sample: str, patch: Patch) -> np.ndarray:
        """Return one array of one sample on a patch, ``p``, float32 or complex64."""
        if not self._cache:
            return self._store.read(sample, array, patch)
        if (sample, array) not in self._volumes:
            self._volumes[sample, array] = self._store.read(sample, array)
        return self._volumes[sample, array][patch.slices]

    def operator(self, name: str) -> LinearOperator:
        """Return an operator of the store; those used last are kept."""
        built = self._built.pop(name, None)
        while len(self._built) >= MAX_BUILT:
            del self._built[next(iter(self._built))]
        if built is None:
            built = self._training_operators[name].spec.build()
        self._built[name] = built  # the last one is the latest
        return built

    def restricted_factors(self, name: str, patches: Sequence[Patch]) -> Factors:
        """Return ``B_p`` of every patch, divided by the operator's norm."""
        scale = 1 / self._training_operators[name].norm
        if not self._cache:
            file = self._training_operators[name].factors
            return _stacked([file.restrict(patch, self._device) for patch in patches]).scaled(scale)
        if name not in self._factors:
            file = self._training_operators[name].factors
            self._factors[name] = file.load(self._device).scaled(scale)
        return restrict_batch(self._factors[name], patches)

    @property
    def volume_bytes(self) -> int:
        """Bytes of the volumes that are kept by now."""
        return sum(volume.nbytes for volume in self._volumes.values())

    @cached_property
    def _store(self) -> DataStore:
        return DataStore.open(self._store_path)


def _stacked(parts: Sequence[Factors]) -> Factors:
    """Return the factors of several patches of one shape as one batch; they share the kernel."""
    u = [part.u for part in parts if part.u is not None]
    v = [part.v for part in parts if part.v is not None]
    return Factors(parts[0].kernel, torch.stack(u) if u else None, torch.stack(v) if v else None)
