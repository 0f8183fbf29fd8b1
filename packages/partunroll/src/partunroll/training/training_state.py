"""TrainingState: what changes while a network is trained, and its way to and from checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from partunroll.configuration.precision import gradient_scaler
from partunroll.errors import CheckpointError, PartunrollError
from partunroll.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from partunroll.network.networks import build_network
from partunroll.network.prior_compilation import compile_prior
from partunroll.network.prior_weights import load_prior_weights
from partunroll.training.last_checkpoints import keep_previous
from partunroll.training.random_state import random_state
from partunroll.training.weight_average import WeightAverage
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partunroll.configuration.train_config import TrainConfig
    from partunroll.network.networks import Network
    from partunroll.network.trained_on import TrainedOn
    from partunroll.training.random_state import RandomState


@dataclass(eq=False)
class TrainingState:
    """A network in training.

    Parameters
    ----------
    config
        Resolved configuration.
    trained_on
        Operators, factors and data.
    device
        Where the network is.
    network, optimizer, scaler, average
        As they are after `step` steps; without an average of the weights, None.
    step
        Steps taken.
    metrics, best
        Figures of the last and of the best validation, each with its ``step``.
    stale
        Validations since the best.
    saved_step
        The steps that the last checkpoint has taken; None without one.
    random
        State of torch's random numbers in the last checkpoint; None without one.
    """

    config: TrainConfig
    trained_on: TrainedOn
    device: torch.device
    network: Network
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    stale: int = 0
    saved_step: int | None = None
    random: RandomState | None = None

    @classmethod
    def fresh(
        cls, config: TrainConfig, trained_on: TrainedOn, device: torch.device
    ) -> TrainingState:
        """Return the state before the first step: weights by the seed alone, or out of a file.

        Raises
        ------
        InputError
            The weights of the file do not fit.
        """
        network, path = _seeded_network(config), config.network.prior.weights
        if path is not None:
            load_prior_weights(network.prior, Path(path))
        return cls._of(config, trained_on, device, network)

    @classmethod
    def resumed(
        cls, path: Path, config: TrainConfig, trained_on: TrainedOn, device: torch.device
    ) -> TrainingState:
        """Return the state that `save_last` left in ``last.pt``.

        Raises
        ------
        CheckpointError
            The checkpoint cannot be read or holds no training state.
        MismatchError, InputError
            It was trained on something else, as `TrainedOn.check_same` says.
        """
        checkpoint = load_checkpoint(path)
        state = cls._of(config, trained_on, device, _seeded_network(config))
        state.network.load_state_dict(checkpoint.build_network().state_dict())
        try:
            state._go_on_from(checkpoint)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            if not isinstance(error, PartunrollError):
                msg = f"checkpoint {path} must hold the state of its training, got {error!r}"
                raise CheckpointError(msg) from error
            raise
        return state

    @property
    def evaluated(self) -> Network:
        """The network that is validated and kept as the best: the average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def validation_is_due(self) -> bool:
        """Whether the network as it is should be validated and has not been."""
        at_the_end = self.step == self.config.steps
        due = self.step > 0 and (self.step % self.config.validation.every == 0 or at_the_end)
        return due and self.metrics.get("step") != self.step

    @property
    def save_is_due(self) -> bool:
        """Whether a checkpoint should be left here: before a validation, and as configured."""
        every = self.config.checkpoints.every
        return self.validation_is_due or (every is not None and self.step % every == 0)

    @property
    def has_stalled(self) -> bool:
        """Whether as many validations as are waited for have brought nothing better."""
        patience = self.config.validation.patience
        return patience is not None and self.stale >= patience

    def validated(self, metrics: Mapping[str, float]) -> bool:
        """Keep the figures of a validation at this step and return whether they are the best.

        Without validation samples there are no figures; then the latest network is the best.
        """
        self.metrics = {**metrics, "step": self.step}
        is_best = metrics.get("psnr", math.inf) > self.best.get("psnr", -math.inf)
        if is_best:
            self.best = self.metrics
        self.stale = 0 if is_best else self.stale + 1
        return is_best

    def save_last(self, path: Path) -> None:
        """Write what a resumed run needs, and keep the newest few checkpoints before it."""
        if self.saved_step not in (None, self.step):
            keep_previous(path, self.saved_step, self.config.checkpoints.keep_last)
        training: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "random": random_state(self.device),
            "best": dict(self.best),
            "stale": self.stale,
            **self.trained_on.as_plain_data(),
        }
        save_checkpoint(path, self._checkpoint(self.network, training))
        self.saved_step = self.step

    def save_best(self, path: Path) -> None:
        """Write the network that is evaluated, without what a resumed run needs."""
        save_checkpoint(path, self._checkpoint(self.evaluated, {}))

    @classmethod
    def _of(
        cls, config: TrainConfig, trained_on: TrainedOn, device: torch.device, network: Network
    ) -> TrainingState:
        network = network.to(device)
        network.checkpointing = config.checkpointing
        average = None if config.ema is None else WeightAverage(network, config.ema)
        if config.compile:
            compile_prior(network)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        scaler = gradient_scaler(config.precision, device)
        return cls(config, trained_on, device, network, optimizer, scaler, average)

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        training = checkpoint.training
        self.trained_on.check_same(checkpoint.operators, training)
        self.optimizer.load_state_dict(training["optimizer"])
        self.best = training["best"]
        self.stale = training.get("stale", 0)
        if training.get("scaler"):
            self.scaler.load_state_dict(training["scaler"])
        if self.average is not None:
            self.average.load_state_dict(training["average"])
        self.random = training.get("random")
        self.step = self.saved_step = checkpoint.step
        self.metrics = checkpoint.metrics

    def _checkpoint(self, network: Network, training: Mapping[str, Any]) -> Checkpoint:
        """Return a checkpoint; it does not say where the first weights came from."""
        patch_shape = self.config.patch_shape
        prior = self.config.network.prior.model_copy(update={"weights": None})
        return Checkpoint(
            network=self.config.network.model_copy(update={"prior": prior}),
            weights=network.state_dict(),
            operators=self.trained_on.operators,
            patch_shape=(patch_shape,) if isinstance(patch_shape, int) else patch_shape,
            normal=self.config.normal,
            step=self.step,
            metrics=self.metrics,
            versions=versions(),
            training=training,
        )


def _seeded_network(config: TrainConfig) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_network(config.network)
