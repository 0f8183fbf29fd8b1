"""nufft_of: mri-nufft's operator of a trajectory, on the CPU (finufft) or GPU (cufinufft)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRECISION = {torch.complex64: 1e-6, torch.complex128: 1e-12}  # relative, asked of the NUFFT


@dataclass(frozen=True, eq=False)
class Nufft:
    """The transform of images on one grid to samples of k-space, and its adjoint.

    It is ``y_m = Σ_n x_n exp(-2πi k_m·n)`` with n counted from the centre ``n // 2``, without a
    scale.

    Parameters
    ----------
    transform
        mri-nufft's operator, without coil maps, density or squeezing.
    dtype, device
        Of what it takes.
    """

    transform: Any
    dtype: torch.dtype
    device: torch.device

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(count, *shape)`` to ``(count, samples)``, one image at a time."""
        return self._each(self.transform.op, images)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Map ``(count, samples)`` to ``(count, *shape)``, one at a time."""
        return self._each(self.transform.adj_op, y)

    def _each(self, apply: Any, batch: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        scale = float(self.transform.norm_factor)
        parts = []
        for item in batch:
            given = item.resolve_conj().contiguous()
            taken = given if self.device.type == "cuda" else given.numpy()
            found = torch.as_tensor(apply(taken[None, None]))
            parts.append(found[0, 0].to(self.device, self.dtype) * scale)
        return torch.stack(parts)


def nufft_of(
    trajectory: np.ndarray,
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    *,
    threads: int = 0,
) -> Nufft:
    """Return the NUFFT of a trajectory.

    Parameters
    ----------
    trajectory
        ``(samples, axes)`` in cycles per voxel, -0.5 … 0.5, axes as in `shape`.
    shape
        Voxels per axis.
    dtype
        complex64 (to 1e-6) or complex128 (to 1e-12).
    device
        CPU or CUDA.
    threads
        Of the CPU; 0 is all. With more than one the adjoint rounds differently every time.

    Raises
    ------
    BackendError
        mri-nufft or its backend is not installed.
    """
    backend = "cufinufft" if device.type == "cuda" else "finufft"
    real = np.float32 if dtype == torch.complex64 else np.float64
    try:
        from mrinufft import get_operator

        with warnings.catch_warnings():  # that it turns cycles into radians
            warnings.simplefilter("ignore", UserWarning)
            transform = get_operator(backend)(
                np.ascontiguousarray(trajectory, dtype=real),
                tuple(shape),
                n_coils=1,
                squeeze_dims=False,
                eps=_PRECISION[dtype],
                **({"nthreads": threads} if threads else {}),
            )
    except (ImportError, ValueError) as error:
        msg = f"NUFFT must have mri-nufft with {backend}, got {error}; install normalfit[mri]"
        raise BackendError(msg) from error
    return Nufft(transform, dtype, device)
