"""spectral_norm: the largest eigenvalue of ``N``, by the Lanczos iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import scipy.linalg
import torch

from normalfit.energy import energy
from normalfit.errors import InputError
from normalfit.probes import draw_probe
from normalfit.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.progress import Progress

_MIN_ITERATIONS = 10  # 1s and one 1.8 on 100³: after one, the residual at 1 is below 1e-3
_STABLE_ITERATIONS = 5


@dataclass(frozen=True)
class SpectralNorm:
    """An estimate of the norm of a normal operator.

    Parameters
    ----------
    value
        The estimate; never more than the norm, up to rounding.
    converged
        Whether it has settled: the residual of its eigenvector is below the tolerance, and the
        estimate itself has not moved by more in the last iterations.
    iterations
        Applications of ``N``.
    """

    value: float
    converged: bool
    iterations: int


def spectral_norm(
    normal: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress = no_progress,
) -> SpectralNorm:
    """Return the spectral norm of a self-adjoint positive semi-definite ``N``.

    Lanczos' three-term recurrence keeps two volumes; the orthogonality that it loses brings
    copies of the largest eigenvalue, not wrong ones. A small residual proves that the figure is
    close to some eigenvalue, not that there is no larger one: a start that hardly has the
    largest one's eigenvector finds it late. So at least ten iterations are made and the figure
    must have been stable over five, unless the Krylov space is exhausted. For a pair whose
    `adjoint` is not exact, the figure is that of a nearby symmetric operator.

    Parameters
    ----------
    normal
        ``N`` on ``(*shape)``.
    tolerance
        Stop once ``|N v - θ v| <= tolerance θ`` for the current estimate θ with vector v, and θ
        has grown by less than ``tolerance θ`` in five iterations.
    max_iterations
        At most this many applications of ``N``.

    Raises
    ------
    InputError
        `max_iterations` is not positive, or ``N`` returns NaN or infinity.
    """
    if max_iterations < 1:
        msg = f"max_iterations must be at least 1, got {max_iterations}"
        raise InputError(msg)
    w = draw_probe(shape, seed=seed, stream="norm", index=0, device=device, dtype=dtype)
    v, previous = w / torch.linalg.vector_norm(w), torch.zeros_like(w)
    diagonal: list[float] = []
    off_diagonal: list[float] = [0.0]
    values: list[float] = []
    for iteration in range(1, max_iterations + 1):
        q = normal(v) - off_diagonal[-1] * previous
        diagonal.append(float(torch.vdot(v.flatten(), q.flatten()).real))
        q = q - diagonal[-1] * v
        for known in (v, previous):  # once more: where q is small, rounding is most of it
            q = q - torch.vdot(known.flatten(), q.flatten()) * known
        off_diagonal.append(math.sqrt(energy(q)))
        value, residual = _largest_ritz_value(diagonal, off_diagonal[1:])
        progress("norm of A*A", iteration, max_iterations, f"{value:.4g}")
        values.append(value)
        exhausted = off_diagonal[-1] <= 10 * torch.finfo(dtype).eps * value
        if residual <= tolerance * value and (exhausted or _is_stable(values, tolerance)):
            return SpectralNorm(value, converged=True, iterations=iteration)
        previous, v = v, q / off_diagonal[-1]
    return SpectralNorm(value, converged=False, iterations=max_iterations)


def _is_stable(values: list[float], tolerance: float) -> bool:
    enough = len(values) >= _MIN_ITERATIONS
    return enough and values[-1] - values[-1 - _STABLE_ITERATIONS] <= tolerance * values[-1]


def _largest_ritz_value(diagonal: list[float], off_diagonal: list[float]) -> tuple[float, float]:
    """Return the largest eigenvalue of the tridiagonal matrix and the residual of its vector."""
    if not math.isfinite(off_diagonal[-1]):
        wrong = off_diagonal[-1] if math.isfinite(diagonal[-1]) else diagonal[-1]
        msg = (
            f"operator must return finite values, got {wrong} while its norm was estimated; "
            "scale it if its values overflow"
        )
        raise InputError(msg)
    last = len(diagonal) - 1
    values, vectors = scipy.linalg.eigh_tridiagonal(
        diagonal, off_diagonal[:-1], select="i", select_range=(last, last)
    )
    return float(values[0]), float(off_diagonal[-1] * abs(vectors[-1, 0]))
