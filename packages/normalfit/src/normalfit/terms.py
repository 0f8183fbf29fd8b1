"""Terms: the unknowns of a least-squares fit, and the ridges with which they were found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from normalfit.diagonal_prior import no_ridge
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.shrinkage import new_kernel_ridge
from normalfit.smooth_image import smooth_image

if TYPE_CHECKING:
    from normalfit.lag_grid import LagGrid

_SHARE_LEFT_BY_FIRST = 0.3  # one term leaves 3 to 15 % of the energy, in tomography
_SHARE_LEFT_BY_LATER = 1.0  # a tenth or ten times of it cost one to three sweeps more


@dataclass(frozen=True, eq=False)
class Terms:
    """The sum ``Σ_k u_k (h_k ∗ (v_k x))`` while it is being fitted.

    Parameters
    ----------
    u
        Diagonals ``(terms, *shape)``.
    h
        Kernels ``(terms, *lags)``, or one for all ``(1, *lags)``; one that is all zero is new.
    v
        Diagonals on the other side, or None for ones.
    kernel_ridge
        As `h`, real.
    u_ridge, v_ridge
        ``(terms, shells)``, as `diagonal_prior` has them.
    """

    u: torch.Tensor
    h: torch.Tensor
    v: torch.Tensor | None
    kernel_ridge: torch.Tensor
    u_ridge: torch.Tensor
    v_ridge: torch.Tensor

    @classmethod
    def none(cls, grid: LagGrid, like: torch.Tensor) -> Terms:
        """Return an empty sum, with the dtype and device of `like`."""
        u, h = like.new_zeros((0, *grid.shape)), like.new_zeros((0, *grid.lags))
        ridge = no_ridge(like, 0, grid.shape)
        return cls(u, h, None, h.real, ridge, ridge)

    @classmethod
    def of(cls, factors: Factors) -> Terms:
        """Return factors as terms to go on from, with ridges that are not known yet."""
        h = factors.kernel.values
        u = factors.expanded(factors.u)
        ridge = no_ridge(u, len(u), factors.shape)
        v = None if factors.v is None else factors.expanded(factors.v)
        return cls(u, h, v, torch.zeros_like(h.real), ridge, ridge)

    def __len__(self) -> int:
        return len(self.u)

    def factors(self, grid: LagGrid) -> Factors:
        """Return the sum as factors."""
        return Factors(LagKernel(self.h, grid.shape, grid.boundary), self.u, self.v)

    def with_new_term(self, generator: torch.Generator) -> Terms:
        """Return the sum with a term more: no kernel yet, and diagonals to look for one with.

        The first diagonal is one everywhere, as N is close to a convolution; later ones are
        smooth and random, as what that leaves turns slowly over the grid. Where there are
        diagonals on the other side they start as the complex conjugates.
        """
        start = smooth_image(self.u.shape[1:], generator).to(self.u)
        start = start if len(self) else torch.ones_like(start)
        ridge = self.kernel_ridge.new_zeros((1, *self.h.shape[1:]))
        share = _SHARE_LEFT_BY_LATER if len(self) else _SHARE_LEFT_BY_FIRST
        ridge.fill_(new_kernel_ridge(ridge.numel(), share))
        return Terms(
            torch.cat([self.u, start[None]]),
            torch.cat([self.h, torch.zeros_like(ridge).to(self.h.dtype)]),
            None if self.v is None else torch.cat([self.v, start.conj()[None]]),
            torch.cat([self.kernel_ridge, ridge]),
            torch.cat([self.u_ridge, self.u_ridge.new_zeros(1, self.u_ridge.shape[1])]),
            torch.cat([self.v_ridge, self.v_ridge.new_zeros(1, self.v_ridge.shape[1])]),
        )

    def with_other_side(self) -> Terms:
        """Return the same sum with diagonals of ones on the other side."""
        return replace(self, v=torch.ones_like(self.u)) if self.v is None else self

    def with_diagonals(self, u: torch.Tensor) -> Terms:
        """Return tied terms with other diagonals ``(terms, *shape)`` and the same kernels."""
        ridge = self.u_ridge.new_zeros(len(u), self.u_ridge.shape[1])
        v = u.conj().resolve_conj()
        return replace(self, u=u, v=v, u_ridge=ridge, v_ridge=ridge)

    def orthogonalised(self) -> Terms:
        """Return the same sum (v absent), u of mean square one and orthogonal to each other.

        This fixes the freedom to scale and to mix terms, which would leave the steps
        ill-conditioned and the ridges without meaning.
        """
        flat = self.u.flatten(1)
        wide = flat.to(torch.complex128 if flat.is_complex() else torch.float64)
        factor, failed = torch.linalg.cholesky_ex(wide @ wide.mH / wide.shape[1])
        if bool(failed):  # parallel to rounding: nothing to separate
            return self
        L = factor.to(flat.dtype)
        u = torch.linalg.solve_triangular(L, flat, upper=False).reshape(self.u.shape)
        return replace(self, u=u, h=torch.tensordot(L.mT, self.h, 1))

    def scaled_to_one(self) -> Terms:
        """Return the same sum with diagonals of mean square one (on average, if h is shared)."""
        u, h = _scaled(self.u, self.h)
        if self.v is None:
            return replace(self, u=u, h=h)
        v, h = _scaled(self.v, h)
        return replace(self, u=u, v=v, h=h)


def _scaled(image: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    square = image.abs().square().flatten(1).mean(1)
    square = square if len(h) == len(image) else square.mean().expand(1)
    scale = torch.where(square > 0, square, 1).sqrt()
    grown = (-1, *[1] * (image.ndim - 1))
    return image / scale.reshape(grown), h * scale.reshape(grown)
