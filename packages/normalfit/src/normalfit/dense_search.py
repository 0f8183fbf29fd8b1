"""dense_search: the best factors of any model on a tiny grid, by brute force.

Levenberg-Marquardt on the entries of the matrix, from many random starts at once. It shares
nothing with the fits but the layout of kernels, so that it can tell where they fall short.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.lag_grid import LagGrid

    Build = Callable[[torch.Tensor], torch.Tensor]

_STEPS = 60
_DAMPING = 1e-2  # at the start, of the diagonal of the normal equations
_STALLED = 1e-6  # relative fall of the squared error that no longer counts
_PATIENCE = 10  # steps in a row without one


@dataclass(frozen=True)
class Found:
    """What the search found.

    Parameters
    ----------
    matrix
        ``B`` of the best start.
    errors
        ``‖N - B‖_F`` of every start, ascending, ``(starts,)``.
    """

    matrix: torch.Tensor
    errors: torch.Tensor


def search(
    normal: torch.Tensor, build: Build, num_parameters: int, *, starts: int = 20, seed: int = 0
) -> Found:
    """Minimise ``‖N - B(θ)‖_F`` over real parameters θ from standard Gaussian starts.

    Memory and time of a step: starts · entries of N · parameters, and its parameters cubed.

    Parameters
    ----------
    normal
        ``N``, float64 or complex128.
    build
        ``θ -> B``, from float64 ``(num_parameters,)``, written with functions that
        `torch.func` can differentiate. Constraints are its matter: ``c = s²`` for ``c >= 0``.
    num_parameters
        Entries of θ.
    """
    scale = torch.linalg.norm(normal)
    target = _real(normal / scale).flatten()

    def residual(theta: torch.Tensor) -> torch.Tensor:
        return _real(build(theta)).flatten() - target

    draw = torch.Generator().manual_seed(seed)
    theta = torch.randn(starts, num_parameters, generator=draw, dtype=torch.float64)
    with warnings.catch_warnings():  # torch's own use of what it deprecates
        warnings.simplefilter("ignore", FutureWarning)
        jacobian = torch.func.vmap(torch.func.jacfwd(residual))
        _ = jacobian(theta)
    evaluate = torch.func.vmap(residual)
    left = evaluate(theta)
    loss, damping = left.square().sum(1), torch.full((starts, 1), _DAMPING, dtype=torch.float64)
    stalled = 0
    for _ in range(_STEPS):
        step = _step(jacobian(theta), left, damping)
        tried = evaluate(theta - step)
        reached = tried.square().sum(1)
        better = reached < loss
        gain = float(((loss - reached) / loss)[better].amax()) if bool(better.any()) else 0.0
        theta = torch.where(better[:, None], theta - step, theta)
        left = torch.where(better[:, None], tried, left)
        loss = torch.where(better, reached, loss)
        damping = torch.where(better[:, None], damping / 3, damping * 4).clamp(1e-12, 1e12)
        stalled = 0 if gain > _STALLED else stalled + 1
        if stalled >= _PATIENCE:
            break
    best = int(loss.argmin())
    return Found(build(theta[best]) * scale, loss.sqrt().sort().values * scale)


def sum_of_terms(grid: LagGrid, u: torch.Tensor, h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return ``B[n, n'] = Σ_k u_k[n] h_k[n - n'] v_k[n']``, ``(samples, samples)``.

    Parameters
    ----------
    grid
        The lags.
    u, h, v
        ``(terms, samples)``, ``(terms or 1, lags)`` and ``(terms, samples)``, flat in C order.
    """
    index, inside = _lag_index(grid)
    return (u[:, :, None] * (h[:, index] * inside) * v[:, None, :]).sum(0)


def _lag_index(grid: LagGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the flat index of lag ``n - n'``, and whether the kernel has it."""
    index = torch.zeros(1, 1, dtype=torch.long)
    inside = torch.ones(1, 1, dtype=torch.bool)
    for n, length, end in zip(grid.shape, grid.lags, grid.boundary, strict=True):
        place = torch.arange(n)[:, None] - torch.arange(n)[None, :] + length // 2
        if end == "periodic":
            place = place % n
        has = (place >= 0) & (place < length)
        index = _outer_sum(index * length, place.clamp(0, length - 1))
        inside = _outer_sum(~inside, ~has).logical_not()
    return index, inside


def _outer_sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a[n, t] + b[n', t']`` as ``(n n', t t')``, C order."""
    size = a.shape[0] * b.shape[0], a.shape[1] * b.shape[1]
    return (a[:, None, :, None] + b[None, :, None, :]).reshape(size)


def _step(J: torch.Tensor, residual: torch.Tensor, damping: torch.Tensor) -> torch.Tensor:
    gram = J.mT @ J
    diagonal = torch.diagonal(gram, dim1=-2, dim2=-1)
    weight = damping * (diagonal + 1e-6 * diagonal.amax(1, keepdim=True))
    right = (J.mT @ residual[..., None])[..., 0]
    return torch.linalg.solve(gram + torch.diag_embed(weight), right)


def _real(matrix: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(matrix) if matrix.is_complex() else matrix
