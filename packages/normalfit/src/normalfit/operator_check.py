"""check: whether an operator is linear, has its adjoint, and restricts exactly."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from normalfit.adjointness import adjointness
from normalfit.energy import energy
from normalfit.errors import InputError
from normalfit.linear_operator import check_operator
from normalfit.probes import check_real, draw_probe, generator
from normalfit.random_patch import half_grid, random_patch
from normalfit.spectral_norm import SpectralNorm, spectral_norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.linear_operator import LinearOperator

LIMITS = {torch.float32: 1e-5, torch.float64: 1e-10}
# What computes in single precision has much the same figure for both (mri-nufft 1e-8 twice), and
# so has what has weights in it (PyLops); what computes in double has one smaller by 1e-8.
_FAR_BELOW = 1e-2


@dataclass(frozen=True)
class CheckReport:
    """What `check` measured; errors are relative, times of one application in float32.

    Parameters
    ----------
    domain, range
        Shapes of ``x`` and ``A x``.
    adjointness_float32, adjointness_float64
        ``|<Ax, y> - <x, A*y>| / (|Ax| |y|)``; in float64 None where the operator refuses it.
    has_exact_adjoint
        What the operator says of itself; where False, adjointness is reported, not judged.
    linearity
        ``|A(x + 2y) - Ax - 2Ay| / |Ax|``, float32.
    restriction
        ``|P N Pᵀ w - restricted.normal(w)| / |P N Pᵀ w|`` on a random patch, float32.
    norm
        Spectral norm of ``A*A``.
    forward_seconds, adjoint_seconds
        Of one application each, after a first one that compiles.
    """

    domain: tuple[int, ...]
    range: tuple[int, ...]
    adjointness_float32: float
    adjointness_float64: float | None
    has_exact_adjoint: bool
    linearity: float
    restriction: float
    norm: SpectralNorm
    forward_seconds: float
    adjoint_seconds: float

    @property
    def computes_in_double(self) -> bool:
        """Whether float64 makes adjointness far better; else its limit is that of float32."""
        figure = self.adjointness_float64
        return figure is not None and not figure >= _FAR_BELOW * self.adjointness_float32

    @property
    def failures(self) -> tuple[str, ...]:
        """What is not as it should be, in words."""
        single, double = LIMITS[torch.float32], LIMITS[torch.float64]
        judged = [("linearity", self.linearity, single), ("restriction", self.restriction, single)]
        if self.has_exact_adjoint:
            judged.append(("adjointness in float32", self.adjointness_float32, single))
            if self.adjointness_float64 is not None:
                limit = double if self.computes_in_double else single
                judged.append(("adjointness in float64", self.adjointness_float64, limit))
        return tuple(
            f"{name} must be below {limit:g}, got {value:.2g}"
            for name, value, limit in judged
            if not value < limit
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {**asdict(self), "passed": not self.failures, "failures": list(self.failures)}

    def __str__(self) -> str:
        note = "" if self.has_exact_adjoint else " (this pair is no exact adjoint, as it says)"
        figure = self.adjointness_float64
        double = "refused" if figure is None else f"{figure:.2g}"
        converged = "converged" if self.norm.converged else "not converged"
        lines = [
            f"domain        {' × '.join(map(str, self.domain))}",
            f"range         {' × '.join(map(str, self.range))}",
            f"adjointness   {self.adjointness_float32:.2g} in float32, {double} in float64{note}",
            f"linearity     {self.linearity:.2g}",
            f"restriction   {self.restriction:.2g}",
            f"norm of A*A   {self.norm.value:.6g} ({converged}, {self.norm.iterations} iterations)",
            f"one A, one A* {self.forward_seconds:.3g} s, {self.adjoint_seconds:.3g} s",
            "passed" if not self.failures else "failed: " + "; ".join(self.failures),
        ]
        return "\n".join(lines)


@torch.no_grad()
def check(
    operator: LinearOperator, *, seed: int = 0, device: torch.device | str = "cpu"
) -> CheckReport:
    """Measure what everything else assumes of an operator.

    Costs about ten applications of A and A* each, and those of `spectral_norm`.

    Raises
    ------
    InputError
        It is no operator, or a result has the wrong shape, is complex for a real argument, or
        is not finite.
    """
    check_operator(operator)
    x, y = (_draw(operator, operator.domain.shape, seed, index, device) for index in (10, 11))
    Ax = operator.forward(x)
    check_real("A*A x", operator.adjoint(Ax), x)
    difference = operator.forward(x + 2 * y) - Ax - 2 * operator.forward(y)
    return CheckReport(
        domain=operator.domain.shape,
        range=operator.range.shape,
        adjointness_float32=adjointness(operator, seed=seed, device=device),
        adjointness_float64=_double_adjointness(operator, seed, device),
        has_exact_adjoint=operator.has_exact_adjoint,
        linearity=_relative(difference, Ax),
        restriction=_restriction(operator, seed, device),
        norm=spectral_norm(
            operator.normal,
            operator.domain.shape,
            seed=seed,
            device=device,
            dtype=operator.probe_dtype,
        ),
        forward_seconds=_seconds(lambda: operator.forward(x)),
        adjoint_seconds=_seconds(lambda: operator.adjoint(Ax)),
    )


def _double_adjointness(
    operator: LinearOperator, seed: int, device: torch.device | str
) -> float | None:
    """Return the figure in double precision; None if the operator, sound in single, refuses."""
    dtype = torch.complex128 if operator.is_complex else torch.float64
    try:
        return adjointness(operator, seed=seed, device=device, dtype=dtype)
    except (InputError, RuntimeError, TypeError):
        return None


def _restriction(operator: LinearOperator, seed: int, device: torch.device | str) -> float:
    shape = operator.domain.shape
    patch = random_patch(shape, half_grid(shape), generator(seed, "check", 13))
    w = _draw(operator, patch.shape, seed, 12, device)
    exact = patch.extract(operator.normal(patch.embed(w, shape)))
    return _relative(operator.restricted(patch).normal(w) - exact, exact)


def _draw(
    operator: LinearOperator,
    shape: tuple[int, ...],
    seed: int,
    index: int,
    device: torch.device | str,
) -> torch.Tensor:
    return draw_probe(
        shape, seed=seed, stream="check", index=index, device=device, dtype=operator.probe_dtype
    )


def _relative(difference: torch.Tensor, reference: torch.Tensor) -> float:
    scale, norm = (math.sqrt(energy(x)) for x in (reference, difference))
    return norm / scale if scale > 0 else norm


def _seconds(call: Callable[[], torch.Tensor]) -> float:
    call()
    started = time.perf_counter()
    result = call()
    if result.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
