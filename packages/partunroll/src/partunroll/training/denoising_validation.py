"""DenoisingProblems: validation volumes with noise, for a denoiser in training."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from partunroll.network.volume_denoiser import VolumeDenoiser
from partunroll.patches.denoising_batch import gaussian_noise
from partunroll.store.data_store import DataStore
from partunroll.volumes.image_metrics import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from partunroll.configuration.network_config import DenoisingConfig
    from partunroll.configuration.train_config import TrainConfig
    from partunroll.network.networks import Network

_SHARES = (1 / 6, 1 / 2, 5 / 6)  # middles of three equal parts of the noise levels; our choice


class DenoisingProblems:
    """The validation volumes of one operator, with the same noise in every validation.

    Parameters
    ----------
    name
        Of the operator.
    data_path, config, device
        As for `validate`.
    """

    def __init__(
        self, name: str, data_path: Path, config: TrainConfig, device: torch.device
    ) -> None:
        self._name = name
        self._store = DataStore.open(data_path)
        self._config = config
        self._device = device

    def psnr(
        self,
        network: Network,
        sample: str,
        show: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None,
    ) -> tuple[float, float]:
        """Return the mean PSNR of the noisy and of the denoised volumes over the noise levels."""
        reference = torch.from_numpy(self._store.read(sample, "reference")).to(self._device)
        settings = self._config.validation
        denoiser = VolumeDenoiser(
            network, settings.patch_shape or self._config.patch_shape, settings.overlap
        )
        comparison = Comparison.with_reference(reference)
        figures = []
        for number, level in enumerate(self._levels):
            rng = np.random.default_rng([self._config.seed, number, len(_SHARES)])
            drawn = gaussian_noise(rng, tuple(reference.shape), is_complex=reference.is_complex())
            noisy = reference + level * drawn.to(self._device)
            denoised = denoiser(noisy, level)
            figures.append(tuple(comparison.psnr(x, reference) for x in (noisy, denoised)))
            if show is not None and number == len(_SHARES) // 2:
                show(self._name, denoised, reference)
        before, after = zip(*figures, strict=True)
        return fmean(before), fmean(after)

    @property
    def _levels(self) -> list[float]:
        network: DenoisingConfig = self._config.network  # type: ignore[assignment] # by `validate`
        low, high = network.noise_levels
        return [low + share * (high - low) for share in _SHARES]
