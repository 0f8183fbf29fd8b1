"""VolumeProblem: everything about a reconstruction that is not the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch

from normalfit.slab_memory import slab_bytes
from normalfit.slabs import SlabFactors
from partunroll.errors import InputError, MismatchError
from partunroll.memory_size import total_bytes

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator

# What proximal steps of stage 1 solve with, and what stands for A*A between exact gradients
Normal = Literal["exact", "factors"]


@dataclass(frozen=True, eq=False)
class VolumeProblem:
    """``y = A x``, where the reconstruction starts, and what approximates ``A*A``.

    Parameters
    ----------
    operator, measurements
        ``A`` and ``y``.
    initial_estimate
        ``x0``, ``(*domain)``, on the device of `measurements`; made as in training.
    norm
        Spectral norm of ``A*A``, the one that the network was trained with.
    factors
        ``B ≈ A*A`` of the whole volume, as fitted; None where only the exact ``A*A`` is used.

    Raises
    ------
    InputError
        The shapes do not fit each other, or `norm` is not positive.
    MismatchError
        The factors are of another grid than the operator.
    """

    operator: LinearOperator
    measurements: torch.Tensor
    initial_estimate: torch.Tensor
    norm: float
    factors: Factors | None = None

    def __post_init__(self) -> None:
        _check_shape("measurements", self.measurements, self.operator.range.shape)
        _check_shape("initial_estimate", self.initial_estimate, self.operator.domain.shape)
        if not self.norm > 0:
            msg = f"norm must be positive, got {self.norm}"
            raise InputError(msg)
        if self.factors is not None and self.factors.shape != self.operator.domain.shape:
            msg = (
                f"factors must be of the operator's grid {self.operator.domain.shape}, "
                f"got {self.factors.shape}"
            )
            raise MismatchError(msg)

    @cached_property
    def scaled_factors(self) -> Factors:
        """``B`` divided by the norm, on the device of the volumes.

        Raises
        ------
        InputError
            There are none.
        """
        if self.factors is None:
            msg = "factors must be given to be used, got none; give them, or use the exact A*A"
            raise InputError(msg)
        return self.factors.to(self.initial_estimate.device).scaled(1 / self.norm)

    def approximate_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B x``, divided by the norm, of ``(..., *domain)``.

        Slab by slab where the padded FFT of the whole would be too large, to be trusted or for
        half of the memory that there is; equal up to rounding.

        Raises
        ------
        InputError
            There are no factors.
        """
        if self._slabs is None:
            return self.scaled_factors(x)
        volumes = [
            torch.cat([slab for _, slab in self._slabs.apply(volume)])
            for volume in x.reshape(-1, *self.operator.domain.shape).cpu().numpy()
        ]
        return torch.stack(volumes).reshape(x.shape)

    @cached_property
    def _slabs(self) -> SlabFactors | None:
        factors, device = self.scaled_factors, self.initial_estimate.device
        kernel, allowed = factors.kernel, total_bytes(device) // 2
        whole = slab_bytes(kernel, factors.terms, kernel.grid.fft_shape[0])
        if not kernel.grid.is_too_large and whole <= allowed:
            return None
        return SlabFactors.of(factors, max_bytes=allowed, device=device)

    def scaled_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return the exact ``A*A x``, divided by the norm."""
        return self.operator.normal(x) / self.norm

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``y − A x``."""
        return self.measurements - self.operator.forward(x)

    def relative_norm(self, residual: torch.Tensor) -> float:
        """Return ``‖residual‖ / ‖y‖``, or 0 where all measurements are 0."""
        scale = float(self.measurements.norm())
        return float(residual.norm()) / scale if scale else 0.0


def _check_shape(name: str, x: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape) != shape:
        msg = f"{name} must have the operator's shape {shape}, got {tuple(x.shape)}"
        raise InputError(msg)
