"""StoredProblem: a reconstruction whose volumes are on disk; the counterpart of VolumeProblem."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from normalfit.factors import Factors
from normalfit.operators.in_slabs import adjoint_in_slabs, forward_in_slabs
from normalfit.restriction import restrict_batch
from normalfit.slabs import SlabFactors
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import numpy as np

    from normalfit.factor_file import FactorFile
    from normalfit.grid import Patch
    from normalfit.lag_kernel import LagKernel
    from normalfit.linear_operator import LinearOperator
    from partunroll.store.stored_volume import StoredVolume


@dataclass(frozen=True, eq=False)
class StoredProblem:
    """``y = A x``, applied slab by slab to volumes on disk.

    Parameters
    ----------
    operator, measurements
        ``A`` and ``y``; the measurements are in memory, on the device to compute on.
    initial_estimate
        ``x0``, on disk.
    norm
        Spectral norm of ``A*A``, the one that the network was trained with.
    factors
        ``B ≈ A*A`` as fitted, or its file; None where only the exact ``A*A`` is used.
    planes
        Planes per slab of the operator.
    slab_bytes
        What a slab of the factors may take.
    """

    operator: LinearOperator
    measurements: torch.Tensor
    initial_estimate: StoredVolume
    norm: float
    factors: Factors | FactorFile | None
    planes: int
    slab_bytes: int

    def residual(self, x: StoredVolume) -> torch.Tensor:
        """Return ``y − A x``."""
        return self.measurements - forward_in_slabs(
            self.operator, x, self.planes, self.measurements.device
        )

    def relative_norm(self, residual: torch.Tensor) -> float:
        """Return ``‖residual‖ / ‖y‖``, or 0 where all measurements are 0."""
        scale = float(self.measurements.norm())
        return float(residual.norm()) / scale if scale else 0.0

    def adjoint(self, residual: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the slabs of ``A*`` of a residual."""
        return adjoint_in_slabs(self.operator, residual, self.planes)

    def scaled_normal(self, x: StoredVolume) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the slabs of the exact ``A*A x``, divided by the norm."""
        device = self.measurements.device
        for start, slab in self.adjoint(forward_in_slabs(self.operator, x, self.planes, device)):
            yield start, slab / self.norm

    def scaled_factors(
        self, x: StoredVolume, x_ref: StoredVolume | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the slabs of ``B (x − x_ref)``, divided by the norm; None stands for zero."""
        difference = x if x_ref is None else _Difference(x, x_ref)
        for start, slab in self._slab_factors.apply(difference):
            yield start, slab / self.norm

    def restricted_factors(self, patches: Sequence[Patch]) -> Factors:
        """Return ``P_i B P_iᵀ`` of a batch of patches, divided by the norm."""
        factors, device = self._given_factors, self.measurements.device
        if isinstance(factors, Factors):
            return restrict_batch(factors, patches).to(device).scaled(1 / self.norm)
        kernel = self._restricted_kernel(factors, patches[0])
        read = [[factors.read_diagonal(name, patch) for patch in patches] for name in ("u", "v")]
        diagonals = [
            None if images[0] is None else torch.stack([i for i in images if i is not None])
            for images in read
        ]
        return Factors(kernel, *[None if d is None else d.to(device) for d in diagonals])

    def check_factors(self) -> None:
        """Refuse a problem without factors before anything is computed.

        Raises
        ------
        InputError
            There are none.
        """
        _ = self._given_factors

    @property
    def _given_factors(self) -> Factors | FactorFile:
        if self.factors is None:
            msg = "factors must be given to be used, got none; give them, or use the exact A*A"
            raise InputError(msg)
        return self.factors

    @cached_property
    def _slab_factors(self) -> SlabFactors:
        return SlabFactors.of(
            self._given_factors, max_bytes=self.slab_bytes, device=self.measurements.device
        )

    def _restricted_kernel(self, factors: FactorFile, patch: Patch) -> LagKernel:
        """Return the kernels that a patch meets; of their file only these lags are read."""
        if patch.shape not in self._kernels:
            kernel = factors.restrict(patch).kernel.scaled(1 / self.norm)
            self._kernels[patch.shape] = kernel.to(self.measurements.device, None)
        return self._kernels[patch.shape]

    @cached_property
    def _kernels(self) -> dict[tuple[int, ...], LagKernel]:
        return {}


@dataclass(frozen=True, eq=False)
class _Difference:
    """The difference of two volumes, computed where it is read."""

    x: StoredVolume
    x_ref: StoredVolume

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.x.dtype

    def __getitem__(self, planes: slice) -> np.ndarray:
        return self.x[planes] - self.x_ref[planes]
