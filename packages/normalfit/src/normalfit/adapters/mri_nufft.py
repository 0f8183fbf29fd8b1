"""from_mri_nufft: mri-nufft's Fourier operators as a LinearOperator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.adapters.host_arrays import on_host
from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


def from_mri_nufft(operator: Any) -> LinearOperator:
    """Return ``A`` of an mri-nufft operator: image ``shape`` to ``(coils, samples)``.

    With several coils it must know their maps (`smaps`), so that it maps one image. The
    transform runs on the host, in single precision as mri-nufft does.

    Parameters
    ----------
    operator
        Has `op`, `adj_op`, `shape`, `n_coils` and `n_samples`.

    Raises
    ------
    InputError
        It has several coils without maps, or weighs its adjoint (density compensation), which
        then is none.
    """
    coils, samples = int(operator.n_coils), int(operator.n_samples)
    if coils > 1 and not operator.uses_sense:
        msg = f"operator must know the maps of its coils, got {coils} coils; pass it smaps"
        raise InputError(msg)
    if getattr(operator, "uses_density", False):
        msg = "operator must not weigh its adjoint, got a density; build it with density=False"
        raise InputError(msg)
    shape, dtype = tuple(int(n) for n in operator.shape), np.complex64

    def forward(x: np.ndarray) -> np.ndarray:
        return np.asarray(operator.op(x.astype(dtype))).reshape(coils, samples)

    def adjoint(y: np.ndarray) -> np.ndarray:
        y = y.astype(dtype)
        return np.asarray(operator.adj_op(y if coils > 1 else y[0])).reshape(shape)

    return FunctionOperator(
        Grid(shape), Grid((coils, samples)), on_host(forward), on_host(adjoint), is_complex=True
    )
