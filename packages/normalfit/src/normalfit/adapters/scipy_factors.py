"""as_scipy: factors as a SciPy LinearOperator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse.linalg
import torch

from normalfit.errors import InputError

if TYPE_CHECKING:
    from normalfit.factors import Factors


def as_scipy(factors: Factors) -> scipy.sparse.linalg.LinearOperator:
    """Return ``B`` as a square SciPy operator on flat vectors (C order), with its adjoint.

    Its dtype is that of the factors, the widest of diagonals and kernel. Vectors are computed in
    it, complex ones in its complex counterpart, on the device of the factors.

    Raises
    ------
    InputError
        The factors have batch axes.
    """
    images = [image for image in (factors.u, factors.v) if image is not None]
    for array in (factors.kernel.values, *images):
        if array.ndim > len(factors.shape) + 1:
            msg = (
                "factors must have no batch axes before the terms, "
                f"got an array of shape {tuple(array.shape)}; make an operator of each"
            )
            raise InputError(msg)
    samples, wide = math.prod(factors.shape), factors.result_dtype

    def apply(adjoint: bool, x: np.ndarray) -> np.ndarray:
        columns = np.ascontiguousarray(x.reshape(samples, -1).T)
        dtype = wide.to_complex() if np.iscomplexobj(x) else wide
        batch = torch.from_numpy(columns).to(factors.device, dtype)
        result = (factors.adjoint if adjoint else factors)(batch.reshape(-1, *factors.shape))
        return result.reshape(-1, samples).T.cpu().numpy().reshape(x.shape)

    def forward(x: np.ndarray) -> np.ndarray:
        return apply(False, x)

    def backward(x: np.ndarray) -> np.ndarray:
        return apply(True, x)

    dtype = torch.empty(0, dtype=wide).numpy().dtype
    return scipy.sparse.linalg.LinearOperator(
        (samples, samples), forward, backward, forward, dtype, backward
    )
