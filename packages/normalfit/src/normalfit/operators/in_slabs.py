"""An operator applied to a volume larger than memory: ``A x`` and ``A* y`` slab by slab, exact.

With the slabs ``P_b`` of a volume, ``A x = Σ_b (A P_bᵀ) P_b x`` and ``P_b A* y = (A P_bᵀ)* y``.
A restricted projector costs what its slab is worth, so the sums cost about as much as the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.errors import InputError
from normalfit.grid import Patch
from normalfit.operators.projection_operator import ProjectionOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normalfit.linear_operator import LinearOperator


def forward_in_slabs(
    operator: LinearOperator,
    x: Any,  # noqa: ANN401 - numpy's and Zarr's arrays have no common type
    planes: int,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Return ``A x`` of a volume that is read a slab at a time; equal up to rounding.

    Parameters
    ----------
    operator
        A projector; any other operator reads the whole volume, as it measures all of it at once.
    x
        ``(*domain)``, sliced along its first axis, as numpy's and Zarr's arrays are.
    planes
        Planes per slab.
    device
        Where to compute.

    Returns
    -------
    torch.Tensor
        ``(*range)``, held in memory as a whole.

    Raises
    ------
    InputError
        `x` has another shape, or `planes` is below 1.
    """
    if tuple(x.shape) != operator.domain.shape:
        msg = f"x must have the operator's shape {operator.domain.shape}, got {tuple(x.shape)}"
        raise InputError(msg)
    total: torch.Tensor | None = None
    for patch in slabs_of(operator, planes):
        slab = torch.from_numpy(np.array(x[patch.slices[0]])).to(device)
        part = _restricted(operator, patch)
        y = part.forward(slab)
        if total is None:
            total = y.new_zeros(operator.range.shape)
        if isinstance(part, ProjectionOperator):
            part.windows.add_to(total, y)
        else:
            total += y
    assert total is not None  # noqa: S101 - a grid has at least one plane
    return total


def adjoint_in_slabs(
    operator: LinearOperator, y: torch.Tensor, planes: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first plane and the planes of every slab of ``A* y``, in order.

    Parameters
    ----------
    operator, planes
        As for `forward_in_slabs`.
    y
        ``(*range)``.

    Raises
    ------
    InputError
        `y` has another shape, or `planes` is below 1.
    """
    if tuple(y.shape) != operator.range.shape:
        msg = f"y must have the operator's shape {operator.range.shape}, got {tuple(y.shape)}"
        raise InputError(msg)
    for patch in slabs_of(operator, planes):
        part = _restricted(operator, patch)
        seen = part.windows.extract(y) if isinstance(part, ProjectionOperator) else y
        yield patch.offset[0], part.adjoint(seen)


def slabs_of(operator: LinearOperator, planes: int) -> list[Patch]:
    """Return the slabs that an operator is applied to: those of a projector, or the whole.

    Raises
    ------
    InputError
        `planes` is below 1.
    """
    if planes < 1:
        msg = f"planes must be at least 1, got {planes}"
        raise InputError(msg)
    shape = operator.domain.shape
    if not isinstance(operator, ProjectionOperator):
        return [Patch.whole(shape)]
    rest = (0,) * (len(shape) - 1)
    return [
        Patch((start, *rest), (min(planes, shape[0] - start), *shape[1:]))
        for start in range(0, shape[0], planes)
    ]


def _restricted(operator: LinearOperator, patch: Patch) -> LinearOperator:
    return operator if patch.shape == operator.domain.shape else operator.restricted(patch)
