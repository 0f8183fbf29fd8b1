"""GradientLog: norms of the gradients that a network meets on patches, by iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.network.iteration import Iteration

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.network.networks import Network
    from partunroll.ranks import Ranks


class GradientLog:
    """Sums of ``‖g_k(x_p)‖²`` over patches, from what the network asks of its normal operator.

    An iteration asks for ``B (x − x0)`` once, and for as many products more as a proximal step
    takes; so the network needs to know nothing of the log.

    Parameters
    ----------
    network
        The one that is watched.
    """

    def __init__(self, network: Network) -> None:
        self._step_sizes = [float(step_size) for step_size in network.step_sizes]
        self._products = 1 + network.cg_iterations
        self._squares = torch.zeros(len(self._step_sizes), dtype=torch.float64)

    def watched(
        self, normal: Callable[[torch.Tensor], torch.Tensor], initial_gradient: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a normal operator for one call of the network that adds to the sums."""
        calls = 0

        def apply(x: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            product = normal(x)
            if calls % self._products == 0:
                norm = torch.linalg.vector_norm(product + initial_gradient).double()
                self._squares[calls // self._products] += float(norm) ** 2
            calls += 1
            return product

        return apply

    def take(self, ranks: Ranks) -> list[float]:
        """Return the sums since the last call, over all processes, and begin anew."""
        squares = ranks.add_up(self._squares.clone()).tolist()
        self._squares.zero_()
        return [float(square) for square in squares]

    def history(self, squares: list[float]) -> tuple[Iteration, ...]:
        """Return the iterations of stage 2, whose norms are over all patches together."""
        return tuple(
            Iteration(step_size, square**0.5, None)
            for step_size, square in zip(self._step_sizes, squares, strict=True)
        )
