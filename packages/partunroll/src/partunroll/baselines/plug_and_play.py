"""pnp_pgd and hqs: plug-and-play proximal gradient, and DPIR's half-quadratic splitting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from normalfit.conjugate_gradient import conjugate_gradient
from partunroll.errors import NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.baselines.problem import Problem

    Denoise = Callable[[torch.Tensor, float], torch.Tensor]

CG_TOLERANCE = 1e-5  # of the right-hand side of a data step; our choice


def pnp_pgd(
    problem: Problem,
    denoise: Denoise,
    *,
    noise_level: float,
    step: float = 1.0,
    relaxation: float = 1.0,
    iterations: int = 50,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Iterate ``z = x − η (A*A x − A*y)``, ``x = (1 − γ) z + γ D_σ(z)`` from the initial estimate.

    This is deepinv's `PGD` with the relaxed denoiser as prior, but ``A*y`` is computed once.
    Costs one application of ``A*A`` and one of the denoiser per iteration.

    Parameters
    ----------
    problem
        What is reconstructed.
    denoise
        ``D_σ(x)``, of ``(*domain)`` and σ.
    noise_level
        σ, in the unit of the volume.
    step
        η, relative to the inverse of the norm of ``A*A``.
    relaxation
        γ, 0 … 1.
    iterations
        Steps.
    progress
        Where to show a bar.

    Raises
    ------
    NotFiniteError
        The iteration diverged.
    """
    eta = step / problem.norm
    x = problem.initial_estimate
    bars = progress or Progress(disable=True)
    for _ in bars.track(range(iterations), description="pnp-pgd"):
        z = x - eta * (problem.operator.normal(x) - problem.backprojection)
        x = (1 - relaxation) * z + relaxation * denoise(z, noise_level)
    return _finite(x, "pnp-pgd", "lower step or relaxation")


def hqs(
    problem: Problem,
    denoise: Denoise,
    *,
    noise_levels: tuple[float, float],
    regularization: float = 0.23,
    iterations: int = 8,
    cg_iterations: int = 10,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Half-quadratic splitting with decreasing noise: DPIR (Zhang et al. 2021, eqs. 6 and 7).

    ``z = argmin_u γ_k |A u − y|² + |u − x|²``, ``x = D_{σ_k}(z)``, from the initial estimate,
    where σ_k falls geometrically and ``γ_k = σ_k² / (λ σ_K² |A*A|)``: with |A*A| = 1 and σ_K the
    level of the measurements' noise, the schedule of the paper and of deepinv's `DPIR`. The data
    step is solved by conjugate gradients from x; `cg_iterations` applications of ``A*A`` each,
    and one more for where it starts.

    Parameters
    ----------
    problem, denoise, progress
        As for `pnp_pgd`.
    noise_levels
        The first and the last σ, in the unit of the volume.
    regularization
        λ; less of it follows the measurements more.
    iterations
        K.
    cg_iterations
        At most this many per data step.

    Raises
    ------
    NotFiniteError
        The iteration diverged.
    """
    normal, last = problem.operator.normal, noise_levels[1]
    x = problem.initial_estimate
    levels = geometric(noise_levels, iterations)
    bars = progress or Progress(disable=True)
    for sigma in bars.track(levels, description="dpir"):
        gamma = sigma**2 / (regularization * last**2 * problem.norm)
        correction = conjugate_gradient(
            partial(_damped, normal, gamma),
            gamma * (problem.backprojection - normal(x)),
            iterations=cg_iterations,
            tolerance=CG_TOLERANCE,
        ).x
        x = denoise(x + correction, sigma)
    return _finite(x, "dpir", "raise regularization")


def _damped(
    normal: Callable[[torch.Tensor], torch.Tensor], gamma: float, d: torch.Tensor
) -> torch.Tensor:
    """Return ``(I + γ A*A) d``."""
    return d + gamma * normal(d)


def geometric(ends: tuple[float, float], count: int) -> list[float]:
    """Return values from the first end to the last, each the same multiple of the one before.

    Of one value it is the last end.
    """
    first, last = ends
    if count == 1:
        return [last]
    return [first * (last / first) ** (k / (count - 1)) for k in range(count)]


def _finite(x: torch.Tensor, name: str, remedy: str) -> torch.Tensor:
    if not bool(torch.isfinite(torch.view_as_real(x) if x.is_complex() else x).all()):
        msg = f"{name} must stay finite, got NaN or infinity; {remedy}"
        raise NotFiniteError(msg)
    return x
