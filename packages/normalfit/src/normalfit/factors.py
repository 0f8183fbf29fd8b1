"""Factors: the approximation ``B x = Σ_k u_k ⊙ (h_k ∗ (v_k ⊙ x))`` of a normal operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.errors import InputError
from normalfit.precision import DTYPES, HALF, check_precision
from normalfit.preconditioner import precondition, solve
from normalfit.symmetrization import symmetrize

if TYPE_CHECKING:
    from normalfit.conjugate_gradient import CGResult
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
        axis of one is shared by all terms, in the kernel as in u and v (multi-coil factors
        have one kernel).

    Raises
    ------
    InputError
        The shapes of the factors do not fit each other, or one is not in single or double
        precision.
    """

    kernel: LagKernel
    u: torch.Tensor | None = None
    v: torch.Tensor | None = None

    def __post_init__(self) -> None:
        check_precision("kernel", self.kernel.values)
        for name, image in (("u", self.u), ("v", self.v)):
            if image is None:
                continue
            check_precision(name, image)
            fits = image.shape[-self._axes :] == self.shape
            if not fits or self._terms_of(image) not in (1, self.terms):
                wanted = (self.terms, *self.shape)
                msg = f"{name} must have the trailing shape {wanted}, got {tuple(image.shape)}"
                raise InputError(msg)
        if self.kernel.terms not in (1, self.terms):
            msg = f"kernel must have 1 or {self.terms} terms as u and v, got {self.kernel.terms}"
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
        images = [image for image in (self.u, self.v) if image is not None]
        return max([self.kernel.terms, *(self._terms_of(image) for image in images)])

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the kernel."""
        return self.kernel.values.dtype

    @property
    def result_dtype(self) -> torch.dtype:
        """The dtype that ``B x`` has for an `x` no wider than the factors."""
        arrays = [array for array in (self.kernel.values, self.u, self.v) if array is not None]
        return reduce(torch.promote_types, [array.dtype for array in arrays])

    @property
    def device(self) -> torch.device:
        """The device of the kernel."""
        return self.kernel.values.device

    @property
    def is_complex(self) -> bool:
        """Whether any factor is complex."""
        return self.result_dtype.is_complex

    @cached_property
    def adjoint(self) -> Factors:
        """``B*``, again factors: ``Σ_k conj(v_k) ⊙ (conj h_k(-τ) ∗ (conj(u_k) ⊙ x))``."""
        u = None if self.v is None else self.v.conj().resolve_conj()
        v = None if self.u is None else self.u.conj().resolve_conj()
        return Factors(self.kernel.adjoint, u, v)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B x`` of shape ``(..., *shape)``; costs one pruned FFT pair a term.

        Without v all terms share the first FFT, without u the second. Terms are added one by
        one: memory does not grow with them.

        Half-precision input is computed in the kernel's precision and cast back; where the
        factors are complex to complex64, as no half precision is.

        Raises
        ------
        InputError
            The trailing axes of `x` are not the grid, the others do not fit the factors' batch
            axes, or `x` is no tensor of floating-point or complex numbers.
        """
        check_precision("x", x, allow_half=True)
        if x.shape[-self._axes :] != self.shape:
            msg = f"x must have the trailing shape {self.shape}, got {tuple(x.shape)}"
            raise InputError(msg)
        x = self.broadcast(x)
        if x.dtype in HALF:
            result = _Apply.apply(x.to(self.result_dtype), self)
            return result.to(torch.complex64 if result.is_complex() else x.dtype)
        return _Apply.apply(x, self)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Factors:
        """Return the factors on another device or in another dtype.

        Raises
        ------
        InputError
            `dtype` is not single or double precision, or real for complex factors.
        """
        is_lost = dtype is not None and self.is_complex and not dtype.is_complex
        if is_lost or dtype not in (None, *DTYPES):
            kind = "complex64 or complex128" if self.is_complex else "single or double precision"
            msg = f"dtype of the factors must be {kind}, got {dtype}"
            raise InputError(msg)
        u = None if self.u is None else self.u.to(device=device, dtype=dtype)
        v = None if self.v is None else self.v.to(device=device, dtype=dtype)
        return Factors(self.kernel.to(device, dtype), u, v)

    def scaled(self, factor: float) -> Factors:
        """Return ``factor · B``."""
        return Factors(self.kernel.scaled(factor), self.u, self.v)

    @cached_property
    def is_self_adjoint(self) -> bool:
        """Whether the factors say that ``B = B*``: ``u = conj(v)`` and Hermitian kernels."""
        if self.u is None or self.v is None:
            tied = self.u is self.v
        else:
            tied = torch.equal(self.u, self.v.conj())
        return tied and torch.equal(self.kernel.values, self.kernel.adjoint.values)

    def symmetrized(self) -> Factors:
        """Return ``½ (B + B*)`` (paper, remark 4.2): self-adjoint, with twice as many terms.

        Nearer to a self-adjoint N than B is, never farther. Factors that are self-adjoint
        already are returned as they are.
        """
        return self if self.is_self_adjoint else symmetrize(self)

    def precondition(self, b: torch.Tensor, ridge: float) -> torch.Tensor:
        """Return ``M b``, M near ``(N + ridge I)⁻¹``, of symmetric factors; two FFTs.

        `normalfit.preconditioner.preconditioner` gives M itself, as factors.

        Raises
        ------
        InputError
            The factors are not symmetric and positive (fit with model 'symmetric'), or `ridge`
            is not positive.
        """
        return precondition(self, b, ridge)

    def solve(
        self, b: torch.Tensor, ridge: float, *, tolerance: float = 1e-6, iterations: int = 500
    ) -> CGResult:
        """Solve ``(B + ridge I) x = b`` for symmetric factors, by preconditioned CG.

        Raises
        ------
        InputError
            As `precondition`.
        """
        return solve(self, b, ridge, tolerance=tolerance, iterations=iterations)

    def expanded(self, image: torch.Tensor | None) -> torch.Tensor:
        """Return an image, or a kernel, for every term; ones for None."""
        if image is None:
            ones = torch.ones(self.shape, device=self.device, dtype=self.dtype)
            return ones.expand(*self._batch, self.terms, *self.shape)
        trailing = image.shape[-self._axes :]
        return image.expand(*image.shape[: -self._axes - 1], self.terms, *trailing)

    def broadcast(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x`, ``(..., *shape)``, with the batch axes of the factors.

        Raises
        ------
        InputError
            They do not fit each other.
        """
        try:
            batch = np.broadcast_shapes(x.shape[: -self._axes], self._batch)
        except ValueError as error:
            msg = f"x must fit the batch axes {self._batch} of the factors, got {tuple(x.shape)}"
            raise InputError(msg) from error
        return x.expand(*batch, *self.shape)

    @property
    def _axes(self) -> int:
        return len(self.shape)

    def _terms_of(self, image: torch.Tensor) -> int:
        return image.shape[-self._axes - 1] if image.ndim > self._axes else 0

    @property
    def _batch(self) -> tuple[int, ...]:
        tensors = [t for t in (self.kernel.values, self.u, self.v) if t is not None]
        return np.broadcast_shapes(*[t.shape[: -self._axes - 1] for t in tensors])

    def _apply(self, x: torch.Tensor) -> torch.Tensor:
        half = not (x.is_complex() or self.is_complex)
        spectra = self.kernel.half_spectrum if half else self.kernel.full_spectrum
        shared = self.terms > 1 and (self.u is None or self.v is None)
        return (self._apply_shared if shared else self._apply_each)(x, spectra, half=half)

    def _apply_each(self, x: torch.Tensor, spectra: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Add terms one by one, none of which holds a padded spectrum as a whole."""
        total: torch.Tensor | None = None
        for k in range(self.terms):
            w = x if self.v is None else self._term(self.v, k) * x
            part = self.kernel.grid.convolve(w, self._term(spectra, k), half=half)
            part = part if self.u is None else self._term(self.u, k) * part
            total = part if total is None else total + part
        assert total is not None  # noqa: S101 - there is at least one term
        return total

    def _apply_shared(self, x: torch.Tensor, spectra: torch.Tensor, *, half: bool) -> torch.Tensor:
        """Add terms that share the first FFT (no v) or the second (no u)."""
        grid = self.kernel.grid
        transformed = grid.transform(x, half=half) if self.v is None else None
        total: torch.Tensor | None = None
        for k in range(self.terms):
            if transformed is None or self.v is not None:
                transformed = grid.transform(self._term(self.v, k) * x, half=half)
            product = transformed * self._term(spectra, k)
            if self.u is None:
                part = product
            else:
                part = self._term(self.u, k) * grid.inverse(product, half=half)
            total = part if total is None else total + part
        assert total is not None  # noqa: S101 - there is at least one term
        return grid.inverse(total, half=half) if self.u is None else total

    def _term(self, factor: torch.Tensor | None, k: int) -> torch.Tensor:
        assert factor is not None  # noqa: S101 - the caller looked
        axis = -self._axes - 1
        return factor.select(axis, k if factor.shape[axis] > 1 else 0)


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
