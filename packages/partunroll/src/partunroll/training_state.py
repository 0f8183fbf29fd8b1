"""TrainingState: what changes while a network is trained, and its way to and from checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from partunroll.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from partunroll.errors import CheckpointError, InputError, MismatchError
from partunroll.network import build_network
from partunroll.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from partunroll.checkpoint import TrainedOperator
    from partunroll.config import TrainConfig
    from partunroll.network import Network


@dataclass(eq=False)
class TrainingState:
    """A network in training.

    Parameters
    ----------
    config
        Resolved configuration.
    operators, samples, data
        What it is trained with; the ids of the training samples, and `DataStore.digest`.
    network, optimizer
        As they are after `step` steps.
    step
        Steps taken.
    metrics, best
        Figures of the last and of the best validation, each with its ``step``.
    """

    config: TrainConfig
    operators: tuple[TrainedOperator, ...]
    samples: tuple[str, ...]
    data: str
    network: Network
    optimizer: torch.optim.Adam
    step: int
    metrics: Mapping[str, float]
    best: Mapping[str, float]

    @classmethod
    def fresh(
        cls,
        config: TrainConfig,
        operators: Sequence[TrainedOperator],
        samples: Sequence[str],
        data: str,
        device: torch.device,
    ) -> TrainingState:
        """Return the state before the first step; the weights come from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = build_network(config.network).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        return cls(config, tuple(operators), tuple(samples), data, network, optimizer, 0, {}, {})

    @classmethod
    def resumed(
        cls,
        path: Path,
        config: TrainConfig,
        operators: Sequence[TrainedOperator],
        samples: Sequence[str],
        data: str,
        device: torch.device,
    ) -> TrainingState:
        """Return the state that `save` left in ``last.pt``.

        Raises
        ------
        CheckpointError
            The checkpoint cannot be read or holds no training state.
        MismatchError
            It was trained with other operators, or with operators of another norm.
        InputError
            It was trained with other samples or other data.
        """
        state = cls.fresh(config, operators, samples, data, device)
        checkpoint = load_checkpoint(path)
        if checkpoint.operators != state.operators:
            msg = (
                f"operators must be those of the run, {_named(checkpoint.operators)}, "
                f"got {_named(state.operators)}"
            )
            raise MismatchError(msg)
        state.network.load_state_dict(checkpoint.build_network().state_dict())
        try:
            state.optimizer.load_state_dict(checkpoint.training["optimizer"])
            state.best = checkpoint.training["best"]
            trained = tuple(checkpoint.training["samples"])
            trained_data = checkpoint.training["data"]
        except (KeyError, ValueError, TypeError) as error:
            msg = f"checkpoint {path} must hold the state of its training, got {error!r}"
            raise CheckpointError(msg) from error
        if trained != state.samples:
            msg = (
                f"data must be those of the run to resume it, with training samples {trained}, "
                f"got {state.samples}"
            )
            raise InputError(msg)
        if trained_data != state.data:
            msg = (
                f"data must be those of the run to resume it, {trained_data[:12]}, got others with "
                f"samples of the same names, {state.data[:12]}; give the data store of the run"
            )
            raise InputError(msg)
        state.step, state.metrics = checkpoint.step, checkpoint.metrics
        return state

    @property
    def learning_rate(self) -> float:
        """The schedule at `step`: a linear rise over `warmup_steps`, and cosine decay to zero."""
        config, progress = self.config, self.step / self.config.steps
        warmup = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        return 0.5 * warmup * config.learning_rate * (1 + math.cos(math.pi * progress))

    def validated(self, metrics: Mapping[str, float]) -> bool:
        """Keep the figures of a validation at this step and return whether they are the best.

        Without validation samples there are no figures; then the latest network is the best.
        """
        self.metrics = {**metrics, "step": self.step}
        is_best = metrics.get("psnr", math.inf) > self.best.get("psnr", -math.inf)
        if is_best:
            self.best = self.metrics
        return is_best

    def save(self, path: Path, *, resumable: bool) -> None:
        """Write a checkpoint, with what a resumed run needs if `resumable`."""
        training: dict[str, Any] = {}
        if resumable:
            training = {
                "optimizer": self.optimizer.state_dict(),
                "best": dict(self.best),
                "samples": list(self.samples),
                "data": self.data,
            }
        patch_shape = self.config.patch_shape
        checkpoint = Checkpoint(
            network=self.config.network,
            weights=self.network.state_dict(),
            operators=self.operators,
            patch_shape=(patch_shape,) if isinstance(patch_shape, int) else patch_shape,
            normal=self.config.normal,
            step=self.step,
            metrics=self.metrics,
            versions=versions(),
            training=training,
        )
        save_checkpoint(path, checkpoint)


def _named(operators: Sequence[TrainedOperator]) -> str:
    return ", ".join(
        f"{o.name} ({o.fingerprint[:12]}, norm {o.norm:.6g}, initial estimates by "
        f"{o.initial_method}{f', window {o.initial_window}' if o.initial_window else ''})"
        for o in operators
    )
