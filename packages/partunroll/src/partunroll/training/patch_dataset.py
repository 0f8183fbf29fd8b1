"""PatchDataset: one batch of patches per training step, decided by (seed, step) alone."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from partunroll.configuration.network_config import DenoisingConfig
from partunroll.errors import InputError
from partunroll.patches.denoising_batch import DenoisingBatch, TrainingBatch, add_noise
from partunroll.patches.patch_batch import PatchBatch
from partunroll.patches.patch_gradient import initial_gradient
from partunroll.patches.patch_normal import needs_factors
from partunroll.patches.patch_normals import patch_normal
from partunroll.ranks import Ranks
from partunroll.store.data_store import DataStore
from partunroll.training.patch_sampler import PatchSampler, check_rotations
from partunroll.training.patch_source import PatchSource
from partunroll.training.stored_foreground import stored_foreground

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator
    from partunroll.configuration.train_config import TrainConfig
    from partunroll.patches.patch_normals import PatchNormal
    from partunroll.training.training_operator import TrainingOperator

_NUM_ARRAYS = 3  # reference, initial estimate, residual backprojection; a denoiser's first only
_MAX_CACHED_BYTES = 4 * 2**30  # with factors; more is read patch by patch; our choice


class PatchDataset(torch.utils.data.Dataset[TrainingBatch]):
    """Batches of patches with what equation (3') needs, indexed by the training step.

    Those of a denoiser are references with noise, and cost no operator.

    Everything random comes from a generator seeded with (seed, step), so a resumed run and any
    number of workers see the same batches; `PatchSampler` says how they are drawn. An item costs
    one restricted forward and adjoint per patch; nothing of a volume's size is computed.

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
        There is no training sample, they do not suit the configured sampling or rotations, or
        the batch cannot be divided among the processes.
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
        check_rotations(config, {operator.name: operator.spec for operator in operators})
        self._sampler = PatchSampler(
            config,
            self._samples,
            {operator.name: operator.factors.shape for operator in operators},
            partial(
                stored_foreground,
                DataStore.open(store_path),
                threshold=config.sampling.threshold,
            ),
        )
        self._source: PatchSource | None = None

    def __len__(self) -> int:
        return self._config.steps * self._config.accumulation

    def __getitem__(self, step: int) -> TrainingBatch:
        """Return a batch, ``0 <= step < len(self)``: of a training step, or of a part of it."""
        if not 0 <= step < len(self):
            msg = f"step must be 0 … {len(self) - 1}, got {step}"
            raise IndexError(msg)
        draw = self._sampler.draw(step)
        samples, places = draw.samples[self._share], draw.places[self._share]
        patches = self._sampler.patches(samples, places, self._read_reference)
        batch = self._batch(step, draw.operator, samples, patches)
        return batch.transformed(draw.symmetry)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    @property
    def source(self) -> PatchSource:
        """Where patches come from, opened at first use."""
        if self._source is None:
            self._source = PatchSource(
                self._store_path, self._operators, cache=self._is_cached, device=self._device
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
        factors = sum(operator.factors.num_bytes for operator in self._operators.values())
        return self._config.cache and self._num_bytes() + factors <= _MAX_CACHED_BYTES

    @torch.no_grad()
    def _batch(
        self, step: int, name: str, samples: tuple[str, ...], patches: tuple[Patch, ...]
    ) -> TrainingBatch:
        if isinstance(self._config.network, DenoisingConfig):
            return self._denoising_batch(step, name, samples, patches, self._config.network)
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

    def _denoising_batch(
        self,
        step: int,
        name: str,
        samples: tuple[str, ...],
        patches: tuple[Patch, ...],
        network: DenoisingConfig,
    ) -> DenoisingBatch:
        truth = self.source.read("reference", samples, patches)
        own = range(self._config.batch)[self._share]
        # one more than the place: trailing zeros would repeat the sampler's random numbers
        seeds = [(self._config.seed, step, place + 1) for place in own]
        noisy, levels = add_noise(truth, network.noise_levels, seeds)
        return DenoisingBatch(step, name, samples, patches, noisy, truth, levels)

    def _read_reference(self, sample: str, patch: Patch) -> np.ndarray:
        return self.source.read_one("reference", sample, patch)

    def _normal(
        self, name: str, patches: tuple[Patch, ...], restricted: tuple[LinearOperator, ...]
    ) -> PatchNormal:
        kind, operator = self._config.normal, self.source.operator(name)
        factors = self.source.restricted_factors(name, patches) if needs_factors(kind) else None
        norm = self._operators[name].norm
        return patch_normal(kind, operator, patches, restricted, norm, factors)

    def _num_bytes(self) -> int:
        """Bytes of the volumes that would be cached."""
        voxels = {name: math.prod(op.factors.shape) for name, op in self._operators.items()}
        sizes = {name: 8 if op.factors.is_complex else 4 for name, op in self._operators.items()}
        arrays = 1 if isinstance(self._config.network, DenoisingConfig) else _NUM_ARRAYS
        return sum(sizes[n] * arrays * voxels[n] * len(ids) for n, ids in self._samples.items())


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
