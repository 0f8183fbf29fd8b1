"""Reconstructions without training: zero-filled, conjugate gradients (SENSE), total variation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from rich.progress import Progress

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.operators.mri_operator import MRIOperator
from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.conjugate_gradient import CGResult
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator

Baseline = Literal["zero-filled", "cg", "tv"]
BASELINES = ("zero-filled", "cg", "tv")

CG_TOLERANCE = 1e-6
# our choice. Measured brain, 8 coils, R = 4, without a ridge: 35.2 dB after 5 iterations, 30.3
# after 12, 24.3 after 40; with 1e-2 35.4, 33.1 and 32.6.
DEFAULT_RIDGE = 1e-2  # of the norm of A*A
CG_ITERATIONS = 10
TV_ITERATIONS = 60
DEFAULT_TV_WEIGHT = 1e-3  # of the norm of A*A, for volumes of about unit range; our choice
_INNER_ITERATIONS = 15  # of the dual of one proximal step, which starts from the last one


def zero_filled(operator: LinearOperator, y: torch.Tensor) -> torch.Tensor:
    """Return the root of the sum of squares of the zero-filled coil images, real.

    Parameters
    ----------
    operator
        MRI.
    y
        ``(*range)``.

    Raises
    ------
    InputError
        The operator has no coils.
    """
    if not isinstance(operator, MRIOperator):
        msg = f"zero-filled must be used with MRI, got {type(operator).__name__}; use cg or tv"
        raise InputError(msg)
    return operator.coil_images(y).abs().square().sum(0).sqrt()


def cg_reconstruction(
    operator: LinearOperator,
    y: torch.Tensor,
    norm: float,
    *,
    ridge: float = DEFAULT_RIDGE,
    iterations: int = CG_ITERATIONS,
    factors: Factors | None = None,
    progress: Progress | None = None,
) -> CGResult:
    """Solve ``(A*A + ρ I) x = A*y`` by conjugate gradients: for MRI, CG-SENSE.

    Parameters
    ----------
    operator, y
        ``A`` and ``y`` of its range.
    norm
        Spectral norm of ``A*A``.
    ridge
        ρ, relative to `norm`.
    iterations
        At most this many applications of ``A*A``.
    factors
        Symmetric factors to precondition with; None: without.
    progress
        Where to show a bar.

    Raises
    ------
    InputError
        `ridge` is negative, or the factors are not symmetric.
    """
    if not 0 <= ridge < math.inf:
        msg = f"ridge must be zero or more, got {ridge}"
        raise InputError(msg)
    rho = ridge * norm
    inverse = None if factors is None else (lambda b: factors.precondition(b, rho))
    bars = progress or Progress(disable=True)
    task = bars.add_task("cg", total=iterations)

    def ridged(x: torch.Tensor) -> torch.Tensor:
        bars.advance(task)
        return operator.normal(x) + rho * x

    return conjugate_gradient(
        ridged,
        operator.adjoint(y),
        iterations=iterations,
        tolerance=CG_TOLERANCE,
        precondition=inverse,
    )


def total_variation(
    operator: LinearOperator,
    y: torch.Tensor,
    norm: float,
    *,
    weight: float = DEFAULT_TV_WEIGHT,
    iterations: int = TV_ITERATIONS,
    start: torch.Tensor | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Minimise ``½ |A x − y|² + λ |∇x|₁`` by FISTA (Beck and Teboulle 2009).

    The proximal step is deepinv's `TVDenoiser`; real and imaginary part have their own variation.
    Costs one application of ``A*A`` per iteration.

    Parameters
    ----------
    operator, y
        ``A`` and ``y`` of its range.
    norm
        Spectral norm of ``A*A``; its inverse is the step size.
    weight
        λ, relative to `norm`.
    iterations
        Steps.
    start
        Where to start; None: zeros.
    progress
        Where to show a bar.

    Raises
    ------
    InputError
        `weight` is negative, or the volume has neither two nor three axes.
    """
    if not 0 <= weight < math.inf:
        msg = f"weight must be zero or more, got {weight}"
        raise InputError(msg)
    if not norm > 0:
        msg = f"norm must be positive, got {norm}"
        raise InputError(msg)
    if operator.domain.num_axes not in (2, 3):
        msg = f"tv must have volumes of 2 or 3 axes, got {operator.domain.num_axes}"
        raise InputError(msg)
    denoise = _tv_denoiser()
    backprojection = operator.adjoint(y)
    x = torch.zeros_like(backprojection) if start is None else start.to(backprojection)
    z, momentum = x, 1.0
    steps = (progress or Progress(disable=True)).track(range(iterations), description="tv")
    for _ in steps:
        gradient = operator.normal(z) - backprojection
        previous, x = x, denoise(z - gradient / norm, weight)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        z = x + (momentum - 1) / following * (x - previous)
        momentum = following
    return x


def import_tv_denoiser() -> Callable[..., Any]:
    """Return deepinv's class, which takes seconds to import for the first time."""
    from deepinv.models import TVDenoiser

    return TVDenoiser


def _tv_denoiser() -> Callable[[torch.Tensor, float], torch.Tensor]:
    denoiser = import_tv_denoiser()(n_it_max=_INNER_ITERATIONS, tau=0.1)
    denoiser.restart = False  # its dual variable goes on from the last step

    def denoise(x: torch.Tensor, weight: float) -> torch.Tensor:
        if weight == 0:
            return x
        # (1, channels, *shape), as deepinv has it
        channels = torch.view_as_real(x).movedim(-1, 0) if x.is_complex() else x[None]
        result = denoiser(channels[None], weight)[0]
        if not x.is_complex():
            return result[0]
        return torch.view_as_complex(result.movedim(0, -1).contiguous())

    return denoise
