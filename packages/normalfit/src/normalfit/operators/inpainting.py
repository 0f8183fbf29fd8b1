"""Inpainting: a mask of the samples that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.linear_operator import LinearOperator

if TYPE_CHECKING:
    import torch

    from normalfit.grid import Patch


class Inpainting(LinearOperator):
    """The mask ``A x = m ⊙ x``; its range is its domain, with zeros where nothing is measured.

    Parameters
    ----------
    domain
        Grid of ``x``.
    mask
        ``m``, shape ``(*domain.shape)``: bool, or real weights.

    Raises
    ------
    InputError
        The mask is complex or has another shape than the domain.
    """

    def __init__(self, domain: Grid, mask: torch.Tensor) -> None:
        if tuple(mask.shape) != domain.shape or mask.is_complex():
            msg = (
                f"mask must be real and have the shape {domain.shape}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
            raise InputError(msg)
        self.domain = self.range = domain
        self._mask = mask.detach()
        self._copies: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    @property
    def mask(self) -> torch.Tensor:
        """``m``, as it was given."""
        return self._mask

    def restricted(self, patch: Patch) -> Inpainting:
        """Return ``P A Pᵀ``: the mask on the patch. Nothing outside is measured through it."""
        patch.check_inside(self.domain.shape)
        mask = patch.extract(self._mask).clone()  # a view would carry the whole mask when pickled
        return Inpainting(Grid(patch.shape, self.domain.voxel_mm), mask)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_copies": {}}  # a worker process must not get GPU tensors

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._mask_for(x) * x

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._mask_for(y) * y

    def _mask_for(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mask on the device and in the dtype of `x`, kept for the next call."""
        key = (x.device, x.dtype.to_real())
        if key not in self._copies:
            self._copies[key] = self._mask.to(*key)
        return self._copies[key]
