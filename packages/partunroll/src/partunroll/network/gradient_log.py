"""GradientLog: norms of the gradients that a network meets on patches, by iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.network.iteration import Iteration
from partunroll.patches.patch_normals import CorrectedNormal

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.network.networks import Network
    from partunroll.patches.patch_normals import PatchNormal
    from partunroll.ranks import Ranks


class GradientLog:
    """Sums of ``‖g_k(x_p)‖²`` over patches, from what the network asks of its normal operator.

    The first gradient is known. A later iteration asks for ``B (x − x0)`` once, and each for as
    many products as a proximal step takes, of the factors where gradients are corrected; so the
    network needs to know nothing of the log.

    Parameters
    ----------
    network
        The one that is watched.
    """

    def __init__(self, network: Network) -> None:
        self._step_sizes = [float(step_size) for step_size in network.step_sizes]
        self._products = network.cg_iterations
        self._squares = torch.zeros(len(self._step_sizes), dtype=torch.float64)

    def watched(self, normal: PatchNormal, initial_gradient: torch.Tensor) -> PatchNormal:
        """Return a normal operator for one call of the network that adds to the sums."""
        if any(self._step_sizes):  # post-processing asks for no gradient
            self._add(0, initial_gradient)
        if isinstance(normal, CorrectedNormal):
            exact = _Watched(normal.exact, self._add, initial_gradient, 0)
            return CorrectedNormal(exact, normal.approximate)
        return _Watched(normal, self._add, initial_gradient, self._products)

    def _add(self, iteration: int, gradient: torch.Tensor) -> None:
        norm = float(torch.linalg.vector_norm(gradient).double())
        self._squares[iteration] += norm**2

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


class _Watched:
    """A normal operator that reports the gradients that its products are part of.

    Parameters
    ----------
    normal
        What is watched.
    report
        Told the iteration and its gradient.
    initial_gradient
        What gradients add to their product.
    products
        Products of every iteration that are no gradient; those of the first come first.
    """

    def __init__(
        self,
        normal: PatchNormal,
        report: Callable[[int, torch.Tensor], None],
        initial_gradient: torch.Tensor,
        products: int,
    ) -> None:
        self._normal, self._report = normal, report
        self._initial_gradient, self._products = initial_gradient, products
        self._calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        product = self._normal(x)
        later = self._calls - self._products
        if later >= 0 and later % (1 + self._products) == 0:
            self._report(1 + later // (1 + self._products), product + self._initial_gradient)
        self._calls += 1
        return product

    def to(self, device: torch.device) -> _Watched:
        return _Watched(
            self._normal.to(device),
            self._report,
            self._initial_gradient.to(device),
            self._products,
        )
