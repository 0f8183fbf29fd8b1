"""adjointness: how far `adjoint` is from the adjoint of `forward`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from normalfit.energy import energy
from normalfit.probes import draw_probe

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


def adjointness(
    operator: LinearOperator,
    *,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """Return ``|<A x, y> - <x, A* y>| / (|A x| |y|)`` for one Gaussian x and y.

    The products are summed in float64, so the figure is the operator's, not the sum's. Costs
    one forward and one adjoint. It is zero where ``A x`` is. Of a real volume with complex
    measurements the real parts of the products are compared.

    Parameters
    ----------
    dtype
        Of x; None is single precision, complex for a complex operator.
    """
    dtype = operator.probe_dtype if dtype is None else dtype
    shared: dict[str, Any] = {"seed": seed, "stream": "check", "device": device}
    x = draw_probe(operator.domain.shape, index=0, dtype=dtype, **shared)
    Ax = operator.forward(x)
    y = draw_probe(operator.range.shape, index=1, dtype=Ax.dtype, **shared)
    Aty = operator.adjoint(y)
    scale = math.sqrt(energy(Ax)) * math.sqrt(energy(y))
    left, right = _inner(y, Ax), _inner(Aty, x)
    difference = abs(left - right if x.is_complex() else (left - right).real)
    return float(difference / scale) if scale > 0 else float(difference)


def _inner(x: torch.Tensor, y: torch.Tensor) -> complex:
    wide = torch.complex128 if x.is_complex() or y.is_complex() else torch.float64
    return complex(torch.vdot(x.flatten().to(wide), y.flatten().to(wide)))
