"""validate: reconstructions of whole validation volumes while a network is trained."""

from __future__ import annotations

import itertools
import math
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from partunroll.configuration.network_config import DenoisingConfig
from partunroll.errors import NotFiniteError
from partunroll.patches.patch_normal import needs_factors
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store.data_store import DataStore
from partunroll.training.denoising_validation import DenoisingProblems
from partunroll.volumes.image_metrics import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from partunroll.configuration.train_config import TrainConfig
    from partunroll.network.networks import Network
    from partunroll.training.training_operator import TrainingOperator


def validate(
    network: Network,
    data_path: Path,
    operators: Sequence[TrainingOperator],
    config: TrainConfig,
    device: torch.device,
    show: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None,
) -> dict[str, float]:
    """Return the mean figures of the validation samples; nothing where there are none.

    Every sample is reconstructed by stage 1, and stage 2 if configured; that costs one forward
    and one adjoint of the whole operator per iteration. A denoiser is given noisy references of
    three levels; they take the place of initial estimates.

    Parameters
    ----------
    network, data_path, operators, config, device
        What is validated, on which data, how, and where.
    show
        Called with the name, the reconstruction and the reference of every operator's first
        sample.

    Returns
    -------
    dict
        ``psnr`` and ``psnr_initial``, of the reconstructions and of the initial estimates, in
        dB relative to each reference's range; ``psnr_NAME`` per operator where there are more.
        NaN where a reconstruction is not finite.
    """
    samples = DataStore.open(data_path).split("validation")
    network.eval()
    initial: list[float] = []
    final: dict[str, list[float]] = {}
    for operator in operators:
        own = [sample.id for sample in samples if sample.operator == operator.name]
        problems: _ValidationProblems | DenoisingProblems
        if isinstance(config.network, DenoisingConfig):
            problems = DenoisingProblems(operator.name, data_path, config, device)
        else:
            problems = _ValidationProblems(operator, data_path, config, device)
        for sample in own:
            psnr_initial, psnr = problems.psnr(network, sample, show if sample == own[0] else None)
            initial.append(psnr_initial)
            final.setdefault(operator.name, []).append(psnr)
    if not final:
        return {}
    figures = {
        "psnr": fmean(itertools.chain(*final.values())),
        "psnr_initial": fmean(initial),
    }
    each = {f"psnr_{name}": fmean(values) for name, values in final.items()}
    return figures | each if len(each) > 1 else figures


class _ValidationProblems:
    """The validation samples of one operator."""

    def __init__(
        self,
        operator: TrainingOperator,
        data_path: Path,
        config: TrainConfig,
        device: torch.device,
    ) -> None:
        self._operator = operator
        self._store = DataStore.open(data_path)
        self._config = config
        self._device = device
        self._built = operator.spec.build()
        # the context of stage 2 and the data step of stage 1 are exact; patches are as in training
        loads = config.validation.stages == 2 and needs_factors(config.normal)
        self._factors = operator.factors.load(device) if loads else None

    def psnr(
        self,
        network: Network,
        sample: str,
        show: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None,
    ) -> tuple[float, float]:
        """Return the PSNR of the initial estimate and of the reconstruction; NaN if it diverges."""
        reference, measurements, initial_estimate = (
            torch.from_numpy(self._store.read(sample, array)).to(self._device)
            for array in ("reference", "measurements", "initial_estimate")
        )
        settings = self._config.validation
        post_processing = self._config.network.kind == "post_processing"
        comparison = Comparison.with_reference(reference)
        psnr_initial = comparison.psnr(initial_estimate, reference)
        try:
            result = reconstruct(
                network,
                self._built,
                measurements,
                self._factors,
                self._operator.norm,
                initial_estimate,
                patch_shape=settings.patch_shape or self._config.patch_shape,
                overlap=settings.overlap,
                stages=1 if post_processing else settings.stages,
                patch_normal=self._config.normal,
            )
        except NotFiniteError:  # on whole volumes; training on patches may yet mend it
            return psnr_initial, math.nan
        if show is not None:
            show(self._operator.name, result.final, reference)
        return psnr_initial, comparison.psnr(result.final, reference)
