"""An example to copy: an operator of one's own, for a spec of kind `python`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import pad

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def moving_average(shape: Sequence[int], width: int) -> FunctionOperator:
    """Return the mean over each run of `width` samples of the last axis.

    Two functions that map tensors with one leading batch axis are all that an operator needs,
    if the second is the adjoint of the first: ``<A x, y> = <x, A* y>``, which `normalfit check`
    measures.

    Parameters
    ----------
    shape
        Samples per axis of ``x``; ``y`` has ``width - 1`` fewer on the last axis.
    width
        Number of samples averaged.

    Raises
    ------
    InputError
        The width is below 1 or above the length of the last axis.
    """
    if not 1 <= width <= shape[-1]:
        msg = f"width must be from 1 to the last axis' {shape[-1]}, got {width}"
        raise InputError(msg)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.unfold(-1, width, 1).mean(-1)

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        return pad(y, (width - 1, width - 1)).unfold(-1, width, 1).mean(-1)

    domain = Grid(tuple(shape))
    range_ = Grid((*domain.shape[:-1], domain.shape[-1] - width + 1))
    return FunctionOperator(domain, range_, forward, adjoint, batched=True)
