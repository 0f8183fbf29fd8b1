"""Restriction of factors to a patch: ``P B Pᵀ`` is again factors (paper eqs. 19-20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.factors import Factors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.grid import Patch
    from normalfit.lag_kernel import LagKernel


def restrict(factors: Factors, patch: Patch) -> Factors:
    """Return ``P B Pᵀ`` exactly, as factors on the patch (design eq. 2).

    The restricted kernel depends on the patch's shape only and is kept with `factors`, so a
    second patch of the same shape costs two slices. Terms whose diagonal is zero on the patch
    are left out: of local factors a patch keeps the windows that it meets.

    Raises
    ------
    InputError
        The patch does not lie inside the grid.
    """
    return _restricted(factors, [patch], lambda image: patch.extract(image))


def restrict_batch(factors: Factors, patches: Sequence[Patch]) -> Factors:
    """Return ``P_i B P_iᵀ`` for several patches of one shape, to apply to ``(patch, *shape)``.

    The diagonals get a batch axis, the kernel is shared. Terms whose diagonals are zero on all
    patches are left out.

    Raises
    ------
    InputError
        There is no patch, the patches differ in shape, or one lies outside the grid.
    """
    shapes = {patch.shape for patch in patches}
    if len(shapes) != 1:
        msg = f"patches must share one shape, got {sorted(shapes)}"
        raise InputError(msg)
    return _restricted(
        factors, patches, lambda image: torch.stack([patch.extract(image) for patch in patches])
    )


def _restricted(
    factors: Factors,
    patches: Sequence[Patch],
    extract: Callable[[torch.Tensor], torch.Tensor],
) -> Factors:
    for patch in patches:
        patch.check_inside(factors.shape)
    u = None if factors.u is None else extract(factors.u)
    v = None if factors.v is None else extract(factors.v)
    kernel = factors.kernel.restricted(patches[0].shape)
    kept = _terms_that_stay(factors, u, v)
    if kept is None:
        return Factors(kernel, u, v)
    axis = -len(factors.shape) - 1
    _keep_spectrum(kernel)
    u, v = (
        image if image is None or image.shape[axis] == 1 else image.index_select(axis, kept)
        for image in (u, v)
    )
    return Factors(kernel if kernel.terms == 1 else kernel.selected(kept), u, v)


def _terms_that_stay(
    factors: Factors, u: torch.Tensor | None, v: torch.Tensor | None
) -> torch.Tensor | None:
    """Return the indices of terms with no vanishing diagonal; None where all stay."""
    if factors.terms == 1:
        return None
    axis = -len(factors.shape) - 1
    stays = torch.ones(factors.terms, dtype=torch.bool, device=factors.device)
    for image in (u, v):
        if image is not None:
            stays &= image.movedim(axis, 0).flatten(1).any(1)
    if bool(stays.all()) or not bool(stays.any()):  # a sum of nothing needs one term too
        return None
    return stays.nonzero()[:, 0]


def _keep_spectrum(kernel: LagKernel) -> None:
    """Compute the spectrum for all terms once, for every patch of this shape."""
    _ = kernel.full_spectrum if kernel.values.is_complex() else kernel.half_spectrum
