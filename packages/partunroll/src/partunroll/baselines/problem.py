"""Problem: what a reconstruction is given: A, y, the norm of A*A and where to start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from normalfit.spectral_norm import spectral_norm
from partunroll.errors import InputError
from partunroll.initial.initial_estimate import initial_estimate

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


@dataclass(frozen=True, eq=False)
class Problem:
    """One scan to reconstruct.

    Parameters
    ----------
    operator
        ``A``.
    y
        Measurements, ``(*range)``.
    norm
        Spectral norm of ``A*A``.
    initial_estimate
        ``x0``, ``(*domain)``, on the device of `y`.
    seed
        Of what a method draws.
    fingerprint
        Of the operator's spec; a file that says it belongs to another is refused. None: unknown.

    Raises
    ------
    InputError
        The shapes are not those of the operator, or `norm` is not positive.
    """

    operator: LinearOperator
    y: torch.Tensor
    norm: float
    initial_estimate: torch.Tensor
    seed: int = 0
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        shapes = (
            ("y", self.y, self.operator.range.shape),
            ("initial_estimate", self.initial_estimate, self.operator.domain.shape),
        )
        for name, values, shape in shapes:
            if tuple(values.shape) != shape:
                msg = f"{name} must have the shape {shape}, got {tuple(values.shape)}"
                raise InputError(msg)
        if not self.norm > 0:
            msg = f"norm must be positive, got {self.norm}"
            raise InputError(msg)

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        operator: LinearOperator,
        y: torch.Tensor,
        *,
        norm: float | None = None,
        with_norm: bool = True,
        with_estimate: bool = True,
        seed: int = 0,
        fingerprint: str | None = None,
    ) -> Problem:
        """Return the problem of measurements, with an estimate of the norm and a usual start.

        Each costs some tens of applications of ``A*A``, the norm only if it is not given. For a
        method that needs one of them not, it may be left out: the norm is infinite then, the
        start NaN.
        """
        start = (
            initial_estimate(operator, y)
            if with_estimate
            else torch.full(
                operator.domain.shape, torch.nan, dtype=operator.probe_dtype, device=y.device
            )
        )
        if norm is None:
            norm = estimated_norm(operator, y.device) if with_norm else math.inf
        return cls(operator, y, norm, start, seed, fingerprint)

    @cached_property
    def backprojection(self) -> torch.Tensor:
        """``A*y``, computed once."""
        return self.operator.adjoint(self.y)


def estimated_norm(operator: LinearOperator, device: torch.device | str = "cpu") -> float:
    """Return the spectral norm of ``A*A``; costs some tens of its applications."""
    shape, dtype = operator.domain.shape, operator.probe_dtype
    return spectral_norm(operator.normal, shape, device=device, dtype=dtype).value
