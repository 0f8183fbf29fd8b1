"""PatchDataset: one batch of patches per training step, decided by (seed, step) alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.grid import Patch
from partunroll.data_store import DataStore
from partunroll.errors import InputError
from partunroll.patch_batch import PatchBatch, RestrictedNormals
from partunroll.patch_gradient import initial_gradient
from partunroll.patch_source import PatchSource
from partunroll.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from partunroll.config import TrainConfig
    from partunroll.patch_batch import PatchNormal
    from partunroll.training_operator import TrainingOperator

_NUM_ARRAYS = 3  # reference, initial estimate, residual backprojection
_MAX_CACHED_BYTES = 4 * 2**30  # our choice; larger stores are read patch by patch


class PatchDataset(torch.utils.data.Dataset[PatchBatch]):
    """Batches of patches with what equation (3') needs, indexed by the training step.

    Everything random comes from a generator seeded with (seed, step), so a resumed run and any
    number of workers see the same batches. Item `step` draws an operator, samples (with
    replacement) and offsets, uniformly over all offsets including the last. It costs one
    restricted forward and adjoint per patch; nothing of a volume's size is computed.

    The dataset pickles as its arguments: the store, the operators and the factors are opened
    where items are made, here or in a spawned worker.

    Parameters
    ----------
    store_path
        Data store; its training samples are used.
    operators
        The store's operators with their factor files.
    config
        Resolved configuration.
    device
        Where initial gradients are computed and batches lie.
    ranks
        Processes that share every batch; an item is this one's part. What is drawn does not
        depend on how many they are.

    Raises
    ------
    InputError
        There is no training sample.
    """

    def __init__(
        self,
        store_path: Path,
        operators: Sequence[TrainingOperator],
        config: TrainConfig,
        device: torch.device | str = "cpu",
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    ) -> None:
        self._share = ranks.share(config.batch)
        self._store_path = store_path
        self._operators = {operator.name: operator for operator in operators}
        self._config = config
        self._device = torch.device(device)
        self._samples = training_samples(store_path)
        self._source: PatchSource | None = None

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> PatchBatch:
        """Return the batch of a training step, ``0 <= step < len(self)``."""
        if not 0 <= step < len(self):
            msg = f"step must be 0 … {len(self) - 1}, got {step}"
            raise IndexError(msg)
        rng = np.random.default_rng([self._config.seed, step])
        name = list(self._samples)[rng.integers(len(self._samples))]
        known = self._samples[name]
        samples = tuple(known[i] for i in rng.integers(len(known), size=self._config.batch))
        shape = self.patch_shape
        grid_shape = self.source.operator(name).domain.shape
        patches = tuple(draw_patch(rng, grid_shape, shape) for _ in samples)
        batch = self._batch(step, name, samples[self._share], patches[self._share])
        axes = tuple(-1 - int(axis) for axis in np.flatnonzero(rng.integers(2, size=len(shape))))
        return batch.flipped(axes) if self._config.flips and axes else batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Voxels per axis of a patch."""
        shape = self._config.patch_shape
        if isinstance(shape, int):
            msg = f"patch_shape must have one length per axis, got {shape}; resolve the config"
            raise InputError(msg)
        return shape

    @property
    def source(self) -> PatchSource:
        """Where patches come from, opened at first use."""
        if self._source is None:
            self._source = PatchSource(
                self._store_path,
                self._operators,
                cache=self._is_cached,
                device=self._device,
            )
        return self._source

    @property
    def cached_bytes(self) -> int:
        """Bytes of the volumes that are kept in memory once all have been read."""
        return self._num_bytes() if self._is_cached else 0

    @property
    def read_bytes(self) -> int:
        """Bytes of those that have been read so far."""
        return 0 if self._source is None else self._source.volume_bytes

    @property
    def _is_cached(self) -> bool:
        return self._config.cache and self._num_bytes() <= _MAX_CACHED_BYTES

    @torch.no_grad()
    def _batch(
        self, step: int, name: str, samples: tuple[str, ...], patches: tuple[Patch, ...]
    ) -> PatchBatch:
        x0, truth, residual = (
            self.source.read(array, samples, patches)
            for array in ("initial_estimate", "reference", "residual_backprojection")
        )
        operator = self.source.operator(name)
        restricted = tuple(operator.restricted(patch) for patch in patches)
        items = zip(restricted, x0, truth, residual, strict=True)
        gradient = torch.stack([initial_gradient(*item) for item in items])
        normal = self._normal(name, patches, restricted)
        norm = self._operators[name].norm
        return PatchBatch(step, name, samples, patches, x0, truth, gradient / norm, normal)

    def _normal(
        self, name: str, patches: tuple[Patch, ...], restricted: tuple[LinearOperator, ...]
    ) -> PatchNormal:
        if self._config.normal == "exact":
            return RestrictedNormals(restricted, self._operators[name].norm)
        return self.source.restricted_factors(name, patches)

    def _num_bytes(self) -> int:
        """Bytes of the volumes that would be cached."""
        voxels = {name: math.prod(op.factors.shape) for name, op in self._operators.items()}
        sizes = {name: 8 if op.factors.is_complex else 4 for name, op in self._operators.items()}
        return sum(
            sizes[n] * _NUM_ARRAYS * voxels[n] * len(ids) for n, ids in self._samples.items()
        )


def draw_patch(
    rng: np.random.Generator, grid_shape: tuple[int, ...], patch_shape: tuple[int, ...]
) -> Patch:
    """Return a patch drawn uniformly from all that lie inside the grid, the last included."""
    room = np.subtract(grid_shape, patch_shape)
    return Patch(tuple(rng.integers(0, room, endpoint=True)), patch_shape)


def training_samples(store_path: Path) -> dict[str, tuple[str, ...]]:
    """Return the ids of the training samples of every operator that has some.

    Raises
    ------
    InputError
        There is no training sample.
    """
    samples: dict[str, tuple[str, ...]] = {}
    for sample in DataStore.open(store_path).split("train"):
        samples[sample.operator] = (*samples.get(sample.operator, ()), sample.id)
    if not samples:
        msg = f"data {store_path} must hold samples of the split 'train', got none"
        raise InputError(msg)
    return samples
