"""Restriction of factors to a patch: ``P B Pᵀ`` is again factors (paper eqs. 19-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.factors import Factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.grid import Patch


def restrict(factors: Factors, patch: Patch) -> Factors:
    """Return ``P B Pᵀ`` exactly, as factors on the patch (design eq. 2).

    The restricted kernel depends on the patch's shape only and is kept with `factors`, so a
    second patch of the same shape costs two slices.

    Raises
    ------
    InputError
        The patch does not lie inside the grid.
    """
    patch.check_inside(factors.shape)
    u = None if factors.u is None else patch.extract(factors.u)
    v = None if factors.v is None else patch.extract(factors.v)
    return Factors(factors.kernel.restricted(patch.shape), u, v)


def restrict_batch(factors: Factors, patches: Sequence[Patch]) -> Factors:
    """Return ``P_i B P_iᵀ`` for several patches of one shape, to apply to ``(patch, *shape)``.

    The diagonals get a batch axis, the kernel is shared.

    Raises
    ------
    InputError
        There is no patch, the patches differ in shape, or one lies outside the grid.
    """
    shapes = {patch.shape for patch in patches}
    if len(shapes) != 1:
        msg = f"patches must share one shape, got {sorted(shapes)}"
        raise InputError(msg)
    parts = [restrict(factors, patch) for patch in patches]
    u = None if factors.u is None else torch.stack([part.u for part in parts if part.u is not None])
    v = None if factors.v is None else torch.stack([part.v for part in parts if part.v is not None])
    return Factors(parts[0].kernel, u, v)
