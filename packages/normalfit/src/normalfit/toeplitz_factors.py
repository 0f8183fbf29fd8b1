"""toeplitz_factors: the exact factors of multi-coil MRI, ``Σ_j s_j* (h ∗ (s_j x))``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from normalfit.lag_grid import Boundary


def toeplitz_factors(
    coil_maps: torch.Tensor, kernel: torch.Tensor, boundary: Sequence[Boundary]
) -> Factors:
    """Return ``Σ_j conj(s_j) ⊙ (h ∗ (s_j ⊙ x))``: with all coils, A*A itself (remark 4.3).

    Parameters
    ----------
    coil_maps
        ``s``, complex ``(coils, *shape)``.
    kernel
        ``h`` over the lags of that grid, complex and Hermitian.
    boundary
        Per axis.

    Raises
    ------
    InputError
        The lags do not fit the grid.
    """
    shape = tuple(coil_maps.shape[1:])
    lag_kernel = LagKernel(kernel[None], shape, tuple(boundary))
    return Factors(lag_kernel, coil_maps.conj().resolve_conj(), coil_maps)
