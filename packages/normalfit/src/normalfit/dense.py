"""Dense truths for tiny grids: matrices of operators, and the best factors there are.

Everything here costs memory of the grid squared; it is the oracle that the fits are held
against, and never part of one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.lag_grid import Boundary

_MAX_SAMPLES = 20_000  # a float64 matrix of 3.2 GB
_SWEEPS = 500
_TOLERANCE = 1e-12


def dense_matrix(
    function: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Return the matrix of a linear map on ``(batch, *shape)``, columns in C order.

    Raises
    ------
    InputError
        The grid has more than 20,000 samples.
    """
    num_samples = math.prod(shape)
    if num_samples > _MAX_SAMPLES:
        msg = f"shape must have at most {_MAX_SAMPLES} samples for a dense matrix, got {shape}"
        raise InputError(msg)
    unit_vectors = torch.eye(num_samples, dtype=dtype).reshape(num_samples, *shape)
    return function(unit_vectors).reshape(num_samples, -1).T


def lag_matrix(
    normal: torch.Tensor, shape: tuple[int, ...], boundary: tuple[Boundary, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``M[n, τ] = N[n, n-τ]`` and where n-τ lies on the grid.

    Both are ``(samples, lags)``; a rank-K matrix M is a sum of K diagonal times convolution.
    """
    lags = LagGrid.full(shape, boundary).lags
    flat = torch.zeros(1, 1, dtype=torch.long)
    inside = torch.ones(1, 1, dtype=torch.bool)
    for n, length, end in zip(shape, lags, boundary, strict=True):
        source = torch.arange(n)[:, None] - (torch.arange(length) - length // 2)[None, :]
        on_grid = (source >= 0) & (source < n) | (end == "periodic")
        flat = _outer(torch.add, flat * n, source % n)
        inside = _outer(torch.logical_and, inside, on_grid)
    return torch.take_along_dim(normal, flat, dim=1) * inside, inside


def best_factors(
    normal: torch.Tensor,
    shape: tuple[int, ...],
    boundary: tuple[Boundary, ...],
    *,
    terms: int = 1,
    starts: int = 5,
    seed: int = 0,
) -> Factors:
    """Return the factors (v absent) nearest to a dense normal operator in Frobenius norm.

    On an all-periodic grid they are the truncated SVD of `lag_matrix` (Eckart-Young; K = 1 is
    the paper's optimum). With a linear axis there is no closed form: masked alternating least
    squares from the SVD and from random starts, of which the best is returned.
    """
    M, inside = lag_matrix(normal, shape, boundary)
    U, S, Vh = torch.linalg.svd(M, full_matrices=False)
    u, h = U[:, :terms] * S[:terms], Vh[:terms].clone()
    if not bool(inside.all()):
        generator = torch.Generator().manual_seed(seed)
        guesses = [h] + [
            torch.randn(h.shape, generator=generator, dtype=torch.float64).to(h.dtype)
            for _ in range(starts - 1)
        ]
        fits = [_masked_least_squares(M, inside.to(M.dtype), guess) for guess in guesses]
        u, h = min(fits, key=lambda fit: _residual(M, inside.to(M.dtype), *fit))
    lags = LagGrid.full(shape, boundary).lags
    return Factors(
        LagKernel(h.reshape(terms, *lags), shape, boundary), u.T.reshape(terms, *shape).contiguous()
    )


def _outer(
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """Combine (n, t) and (n', t') entry by entry into (n n', t t'), C order."""
    combined = combine(a[:, None, :, None], b[None, :, None, :])
    return combined.reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])


def _masked_least_squares(
    M: torch.Tensor, mask: torch.Tensor, h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    error, floor = math.inf, 1e-24 * float(M.abs().square().sum())
    for _ in range(_SWEEPS):
        u = _solve_rows(M, mask, h)
        h = _solve_rows(M.T, mask.T, u.T).T
        previous, error = error, _residual(M, mask, u, h)
        if error < floor or previous - error <= _TOLERANCE * min(previous, error * 2):
            break
    return u, h


def _solve_rows(M: torch.Tensor, mask: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return for every row n the coefficients that fit ``M[n]`` by the rows of `h`."""
    gram = torch.einsum("nt,kt,jt->nkj", mask, h.conj(), h)
    right = torch.einsum("nt,kt->nk", M * mask, h.conj())
    # a start may make a row's terms nearly parallel; far below the tolerance of the sweeps
    jitter = 1e-14 * torch.einsum("nkk->n", gram).real.clamp_min(1e-300)
    gram = gram + jitter[:, None, None] * torch.eye(len(h), dtype=gram.dtype)
    return torch.linalg.solve(gram, right)


def _residual(M: torch.Tensor, mask: torch.Tensor, u: torch.Tensor, h: torch.Tensor) -> float:
    return float((M * mask - (u @ h) * mask).abs().square().sum())
