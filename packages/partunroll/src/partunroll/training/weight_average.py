"""WeightAverage: the exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from partunroll.network.networks import Network


class WeightAverage:
    """A network whose weights follow those of the network in training.

    After each of the n steps so far, ``average ← d · average + (1 − d) · weights`` with
    ``d = min(decay, (1 + n) / (10 + n))``: the first weights, which are random, are soon forgotten
    (the ramp is TensorFlow's).

    Parameters
    ----------
    network
        Before its first step; the average is a copy.
    decay
        In (0, 1); it averages over about ``1 / (1 − decay)`` steps.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Follow the weights of `network` after one of its steps."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        averages: list[torch.Tensor] = list(self.network.parameters())
        weights: list[torch.Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def state_dict(self) -> dict[str, object]:
        """Return what a resumed run needs."""
        return {"weights": self.network.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from what `state_dict` returned.

        Raises
        ------
        KeyError, RuntimeError, TypeError
            It is of another network, or is something else.
        """
        self.network.load_state_dict(state["weights"])  # type: ignore[arg-type]
        self.num_updates = int(state["num_updates"])  # type: ignore[call-overload]
