"""FinerSimulation: measurements from a twice finer grid, free of the inverse crime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partunroll.errors import InputError

if TYPE_CHECKING:
    import torch

    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator

REFINEMENT = 2  # finer voxels and finer detector pixels


@dataclass(frozen=True)
class FinerSimulation:
    """An operator and the projector that stands for the real scanner.

    Attributes
    ----------
    operator
        The operator of the reconstruction.
    projector
        The one that simulates: `operator` on finer voxels and detector pixels, or itself.
    inverse_crime
        Whether both are the same, which flatters every reconstruction.
    """

    operator: LinearOperator
    projector: LinearOperator
    inverse_crime: bool

    @property
    def grid(self) -> Grid:
        """Grid of the object to simulate."""
        return self.projector.domain

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return reference and exact measurements of an object on `grid`.

        Both are averages over the finer samples: of voxel values, and of line integrals over a
        detector pixel. Costs one application of the projector.
        """
        reference = block_mean(x, self.operator.domain.shape)
        return reference, block_mean(self.projector.forward(x), self.operator.range.shape)


def finer_simulation(operator: LinearOperator, *, same_grid: bool = False) -> FinerSimulation:
    """Return the simulation of an operator's measurements.

    Parameters
    ----------
    operator
        If it has ``refined(factor)`` (cone and parallel beam), it simulates on a twice finer
        grid; the others commit the inverse crime, and the result says so.
    same_grid
        Simulate with `operator` itself.
    """
    refined: Any = getattr(operator, "refined", None)
    if same_grid or refined is None:
        return FinerSimulation(operator, operator, inverse_crime=True)
    return FinerSimulation(operator, refined(REFINEMENT), inverse_crime=False)


def block_mean(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the mean over blocks: ``(..., *finer)`` to ``(..., *shape)``.

    Raises
    ------
    InputError
        The shape does not divide the finer one.
    """
    finer = tuple(x.shape[x.ndim - len(shape) :])
    if any(n % m for n, m in zip(finer, shape, strict=True)):
        msg = f"shape must divide the finer shape {finer}, got {shape}"
        raise InputError(msg)
    split = [part for n, m in zip(finer, shape, strict=True) for part in (m, n // m)]
    blocks = x.reshape(*x.shape[: x.ndim - len(shape)], *split)
    return blocks.mean(dim=tuple(range(-1, -2 * len(shape), -2)))
