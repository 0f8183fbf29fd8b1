"""NonCartesianMRI: multi-coil MRI along any trajectory, by NUFFTs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.mri.nufft import Nufft, nufft_of
from normalfit.operators.mri_operator import MRIOperator
from normalfit.toeplitz_factors import toeplitz_factors

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.lag_grid import Boundary

_EDGE = 0.5 + 1e-6  # of k-space, in cycles per voxel


class NonCartesianMRI(MRIOperator):
    """``A x = (√w ⊙ F_k (s_j ⊙ x))_j``, with mri-nufft's conventions and scale.

    So ``A*A = Σ_j S_j* F_k* W F_k S_j`` holds the density compensation ``w``, and measurements
    are to be multiplied by √w. ``F_k* W F_k`` is a convolution with a linear boundary whose
    kernel is the adjoint NUFFT of ``w``.

    Parameters
    ----------
    domain, coil_maps
        As for `MRIOperator`.
    trajectory
        ``k``, ``(samples, axes)`` in cycles per voxel, -0.5 … 0.5, axes as in the domain.
    density
        ``w``, ``(samples,)``, not negative; None is one everywhere.

    Raises
    ------
    InputError
        Trajectory or density do not fit, or leave k-space.
    """

    def __init__(
        self,
        domain: Grid,
        coil_maps: torch.Tensor,
        trajectory: np.ndarray,
        density: np.ndarray | None = None,
    ) -> None:
        super().__init__(domain, coil_maps)
        self._trajectory = _checked_trajectory(trajectory, domain.num_axes)
        self._density = _checked_density(density, len(self._trajectory))
        self.range = Grid((len(coil_maps), len(self._trajectory)))
        self._scale = 1 / math.sqrt(math.prod(domain.shape) * 2**domain.num_axes)
        self._transforms: dict[tuple[torch.device, torch.dtype], Nufft] = {}

    @property
    def trajectory(self) -> np.ndarray:
        """``k``, ``(samples, axes)`` float64."""
        return self._trajectory

    @property
    def density(self) -> np.ndarray:
        """``w``, ``(samples,)`` float64."""
        return self._density

    def exact_factors(self, dtype: torch.dtype = torch.complex64) -> Factors:
        """Return ``A*A`` with the kernel in double precision; costs one NUFFT of twice the grid."""
        lags = tuple(2 * n - 1 for n in self.domain.shape)
        transform = nufft_of(self._trajectory, lags, torch.complex128, torch.device("cpu"))
        weights = torch.tensor(self._density, dtype=torch.complex128)
        kernel = transform.adjoint(weights[None])[0] * self._scale**2
        boundary: tuple[Boundary, ...] = tuple("linear" for _ in self.domain.shape)
        return toeplitz_factors(self._coil_maps.to(dtype), kernel.to(dtype), boundary)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_transforms": {}}  # plans are not picklable

    def _sample(self, images: torch.Tensor) -> torch.Tensor:
        flat = self._transform(images).forward(images.flatten(0, 1))
        return flat.reshape(*images.shape[:2], -1) * self._root(images)

    def _image(self, y: torch.Tensor) -> torch.Tensor:
        flat = self._transform(y).adjoint((y * self._root(y)).flatten(0, 1))
        return flat.reshape(*y.shape[:2], *self.domain.shape)

    def _root(self, x: torch.Tensor) -> torch.Tensor:
        return self._on("root", torch.tensor(np.sqrt(self._density) * self._scale), x)

    def _transform(self, x: torch.Tensor) -> Nufft:
        self._on("maps", self._coil_maps, x)  # refuses real x
        key = (x.device, x.dtype)
        if key not in self._transforms:
            self._transforms[key] = nufft_of(self._trajectory, self.domain.shape, x.dtype, x.device)
        return self._transforms[key]


def _checked_trajectory(trajectory: np.ndarray, num_axes: int) -> np.ndarray:
    values = np.asarray(trajectory, dtype=np.float64).reshape(-1, np.shape(trajectory)[-1])
    if values.shape[1] != num_axes or len(values) == 0:
        msg = f"trajectory must have the shape (samples, {num_axes}), got {np.shape(trajectory)}"
        raise InputError(msg)
    reach = float(np.abs(values).max())
    if not reach <= _EDGE:  # NaN is refused too
        msg = f"trajectory must lie within -0.5 … 0.5 cycles per voxel, got {reach:g}"
        raise InputError(msg)
    return np.clip(values, -0.5, 0.5)


def _checked_density(density: np.ndarray | None, samples: int) -> np.ndarray:
    if density is None:
        return np.ones(samples)
    values = np.asarray(density, dtype=np.float64).ravel()
    if len(values) != samples:
        msg = f"density must have one value per sample ({samples}), got {len(values)}"
        raise InputError(msg)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() > 0):
        msg = f"density must be finite, zero or more, and not all zero, got {values.min():g} … "
        raise InputError(msg + f"{values.max():g}")
    return values
