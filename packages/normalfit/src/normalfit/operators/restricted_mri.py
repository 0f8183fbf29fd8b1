"""RestrictedMRI: ``A Pᵀ`` of an MRI operator, with a normal operator of the patch's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.linear_operator import LinearOperator
from normalfit.restriction import restrict

if TYPE_CHECKING:
    import torch

    from normalfit.factors import Factors
    from normalfit.operators.mri_operator import MRIOperator


class RestrictedMRI(LinearOperator):
    """The operator on one patch, everything else zero.

    Parameters
    ----------
    operator
        ``A``.
    patch
        A box inside its domain.

    Raises
    ------
    InputError
        The patch does not lie inside the domain.
    """

    is_complex = True

    def __init__(self, operator: MRIOperator, patch: Patch) -> None:
        patch.check_inside(operator.domain.shape)
        self.domain = Grid(patch.shape, operator.domain.voxel_mm)
        self.range = operator.range
        self._operator, self._patch = operator, patch
        self._factors: Factors | None = None

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``P A*A Pᵀ x``, exact: a patch meets few lags of the one convolution."""
        if not x.is_complex():
            msg = f"x must be complex, as coils are, got {x.dtype}; convert it"
            raise InputError(msg)
        return self._factors_for(x)(x)

    def restricted(self, patch: Patch) -> RestrictedMRI:
        patch.check_inside(self.domain.shape)
        offset = tuple(a + b for a, b in zip(self._patch.offset, patch.offset, strict=True))
        return RestrictedMRI(self._operator, Patch(offset, patch.shape))

    def _factors_for(self, x: torch.Tensor) -> Factors:
        known = self._factors
        if known is None or known.device != x.device or known.dtype != x.dtype:
            known = restrict(self._operator.kept_factors(x.dtype), self._patch).to(x.device)
            self._factors = known
        return known

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._operator.forward(self._patch.embed(x, self._operator.domain.shape))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._patch.extract(self._operator.adjoint(y))
