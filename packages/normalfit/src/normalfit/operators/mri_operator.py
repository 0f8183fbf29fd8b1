"""MRIOperator: what Cartesian and non-Cartesian multi-coil MRI have in common."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.linear_operator import LinearOperator

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.grid import Grid, Patch


class MRIOperator(LinearOperator):
    """Coils see ``s_j ⊙ x``, and of that a linear time-invariant system keeps some k-space.

    So ``A*A = Σ_j S_j* T S_j``, where ``T`` is one convolution for all coils: factors express it
    exactly.

    Parameters
    ----------
    domain
        Grid of ``x``, ``(y, x)`` or ``(z, y, x)``.
    coil_maps
        ``s``, complex ``(coils, *domain.shape)``.

    Raises
    ------
    InputError
        The maps are not complex, not finite or of another shape.
    """

    is_complex = True

    def __init__(self, domain: Grid, coil_maps: torch.Tensor) -> None:
        fits = coil_maps.ndim == 1 + domain.num_axes and coil_maps.shape[1:] == domain.shape
        if not fits or not coil_maps.is_complex() or len(coil_maps) == 0:
            msg = (
                f"coil_maps must be complex of shape (coils, {', '.join(map(str, domain.shape))}),"
                f" got {coil_maps.dtype} of shape {tuple(coil_maps.shape)}"
            )
            raise InputError(msg)
        if not bool(torch.view_as_real(coil_maps.resolve_conj()).isfinite().all()):
            msg = "coil_maps must be finite, got NaN or infinity"
            raise InputError(msg)
        if not bool(coil_maps.any()):
            msg = "coil_maps must see something, got zeros"
            raise InputError(msg)
        self.domain = domain
        self._coil_maps = coil_maps.detach()
        self._copies: dict[tuple[str, torch.device, torch.dtype], torch.Tensor] = {}
        self._factors: dict[torch.dtype, Factors] = {}

    @property
    def coil_maps(self) -> torch.Tensor:
        """``s``, as they were given."""
        return self._coil_maps

    @property
    def num_coils(self) -> int:
        """Number of coils."""
        return len(self._coil_maps)

    @abc.abstractmethod
    def exact_factors(self, dtype: torch.dtype = torch.complex64) -> Factors:
        """Return ``A*A`` as factors, exact to the precision of `dtype`."""

    def coil_images(self, y: torch.Tensor) -> torch.Tensor:
        """Return the image of every coil, ``(..., coils, *domain.shape)``, zero-filled.

        Parameters
        ----------
        y
            ``(..., *range.shape)``.
        """
        images = self._image(y.reshape(-1, *self.range.shape))
        return images.reshape(*y.shape[: y.ndim - self.range.num_axes], *images.shape[1:])

    def restricted(self, patch: Patch) -> LinearOperator:
        """Return ``A Pᵀ``, whose `normal` costs FFTs of twice the patch and is exact.

        Every sample of k-space sees every patch, so forward and adjoint cost as much as of the
        whole grid; training and reconstruction need the normal operator only.
        """
        from normalfit.operators.restricted_mri import RestrictedMRI

        return RestrictedMRI(self, patch)

    def __getstate__(self) -> dict[str, object]:
        # a worker process must not get GPU tensors
        return {**self.__dict__, "_copies": {}, "_factors": {}}

    def kept_factors(self, dtype: torch.dtype) -> Factors:
        """Return `exact_factors`, computed once for each dtype."""
        if dtype not in self._factors:
            self._factors[dtype] = self.exact_factors(dtype)
        return self._factors[dtype]

    @abc.abstractmethod
    def _sample(self, images: torch.Tensor) -> torch.Tensor:
        """Return the measurements of coil images ``(batch, coils, *domain.shape)``."""

    @abc.abstractmethod
    def _image(self, y: torch.Tensor) -> torch.Tensor:
        """Apply the adjoint of `_sample`."""

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self._on("maps", self._coil_maps, x)
        return self._sample(maps * x[:, None])

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        maps = self._on("maps", self._coil_maps, y)
        return (maps.conj() * self._image(y)).sum(1)

    def _on(self, name: str, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return values of the operator on the device and in the precision of `x`, kept."""
        if not x.is_complex():
            msg = f"x must be complex, as coils are, got {x.dtype}; convert it"
            raise InputError(msg)
        dtype = x.dtype if values.is_complex() else x.dtype.to_real()
        key = (name, x.device, dtype)
        if key not in self._copies:
            self._copies[key] = values.to(x.device, dtype)
        return self._copies[key]
