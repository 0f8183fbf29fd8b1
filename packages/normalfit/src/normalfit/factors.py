"""Factors: the approximation ``B x = Σ_k u_k ⊙ (h_k ∗ (v_k ⊙ x))`` of a normal operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.errors import InputError

if TYPE_CHECKING:
    from normalfit.lag_grid import Boundary
    from normalfit.lag_kernel import LagKernel


@dataclass(frozen=True, eq=False)
class Factors:
    """A sum of diagonal times convolution times diagonal (design eq. 1; K = 1: paper eq. 16).

    Calling it applies it to ``(..., *shape)``. The call is differentiable with respect to its
    argument; the backward pass is the adjoint and stores nothing. `u`, `v` and the kernel may
    carry batch axes before the terms; they broadcast against the batch axes of the argument.

    Parameters
    ----------
    kernel
        Kernels ``h_k``, ``(..., terms, *lags)``.
    u, v
        Diagonals ``(..., terms, *shape)``, one image per term; None means all ones. A terms
        axis of one is shared by all terms.

    Raises
    ------
    InputError
        The shapes of the factors do not fit each other.
    """

    kernel: LagKernel
    u: torch.Tensor | None = None
    v: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for name, image in (("u", self.u), ("v", self.v)):
            if image is None:
                continue
            terms = tuple(image.shape[: -self._axes])[-1:]
            fits = image.shape[-self._axes :] == self.shape
            if not fits or terms not in ((1,), (self.terms,)):
                msg = (
                    f"{name} must have the trailing shape {(self.terms, *self.shape)}, "
                    f"got {tuple(image.shape)}"
                )
                raise InputError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.kernel.shape

    @property
    def boundary(self) -> tuple[Boundary, ...]:
        """Boundary per axis."""
        return self.kernel.boundary

    @property
    def lags(self) -> tuple[int, ...]:
        """Lags per axis of the kernels."""
        return self.kernel.lags

    @property
    def terms(self) -> int:
        """Number K of terms."""
        return self.kernel.terms

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the kernel."""
        return self.kernel.values.dtype

    @property
    def device(self) -> torch.device:
        """The device of the kernel."""
        return self.kernel.values.device

    @property
    def is_complex(self) -> bool:
        """Whether any factor is complex."""
        images = [image for image in (self.u, self.v) if image is not None]
        return any(t.is_complex() for t in [self.kernel.values, *images])

    @cached_property
    def adjoint(self) -> Factors:
        """``B*``, again factors: ``Σ_k conj(v_k) ⊙ (conj h_k(-τ) ∗ (conj(u_k) ⊙ x))``."""
        u = None if self.v is None else self.v.conj().resolve_conj()
        v = None if self.u is None else self.u.conj().resolve_conj()
        return Factors(self.kernel.adjoint, u, v)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B x`` of shape ``(..., *shape)``; costs one pruned FFT pair a term.

        Half-precision input is computed in the kernel's precision and cast back.

        Raises
        ------
        InputError
            The trailing axes of `x` are not the grid.
        """
        if x.shape[-self._axes :] != self.shape:
            msg = f"x must have the trailing shape {self.shape}, got {tuple(x.shape)}"
            raise InputError(msg)
        batch = np.broadcast_shapes(x.shape[: -self._axes], self._batch)
        x = x.expand(*batch, *self.shape)
        if x.dtype in (torch.float16, torch.bfloat16):
            return _Apply.apply(x.to(self.dtype), self).to(x.dtype)
        return _Apply.apply(x, self)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Factors:
        """Return the factors on another device or in another dtype."""
        u = None if self.u is None else self.u.to(device=device, dtype=dtype)
        v = None if self.v is None else self.v.to(device=device, dtype=dtype)
        return Factors(self.kernel.to(device, dtype), u, v)

    def scaled(self, factor: float) -> Factors:
        """Return ``factor · B``."""
        return Factors(self.kernel.scaled(factor), self.u, self.v)

    @property
    def _axes(self) -> int:
        return len(self.shape)

    @property
    def _batch(self) -> tuple[int, ...]:
        tensors = [t for t in (self.kernel.values, self.u, self.v) if t is not None]
        return np.broadcast_shapes(*[t.shape[: -self._axes - 1] for t in tensors])

    def _apply(self, x: torch.Tensor) -> torch.Tensor:
        half = not (x.is_complex() or self.is_complex)
        spectrum = self.kernel.half_spectrum if half else self.kernel.full_spectrum
        grid = self.kernel.grid
        term_axis = -self._axes - 1
        x = x.unsqueeze(term_axis)
        x = x if self.v is None else self.v * x
        product = grid.transform(x, half=half) * spectrum
        if self.u is None:
            return grid.inverse(product.sum(term_axis), half=half)
        return (self.u * grid.inverse(product, half=half)).sum(term_axis)


class _Apply(torch.autograd.Function):
    """``B x`` whose backward pass is ``B*``."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives the context no public type
        x: torch.Tensor,
        factors: Factors,
    ) -> torch.Tensor:
        ctx.factors = factors
        ctx.is_complex = x.is_complex()
        return factors._apply(x.detach())

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient: torch.Tensor,
    ) -> tuple[torch.Tensor, None]:
        result = ctx.factors.adjoint(gradient)
        return (result if ctx.is_complex or not result.is_complex() else result.real), None
