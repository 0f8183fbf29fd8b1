"""adjointness: how far `adjoint` is from the adjoint of `forward`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.probes import draw_probe

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


def adjointness(
    operator: LinearOperator,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> float:
    """Return ``|<A x, y> - <x, A* y>| / (|A x| |y|)`` for one Gaussian x and y.

    The products are summed in float64, so the figure is the operator's, not the sum's. Costs
    one forward and one adjoint. It is zero where ``A x`` is.
    """
    x = draw_probe(
        operator.domain.shape, seed=seed, stream="check", index=0, device=device, dtype=dtype
    )
    y = draw_probe(
        operator.range.shape, seed=seed, stream="check", index=1, device=device, dtype=dtype
    )
    Ax, Aty = operator.forward(x), operator.adjoint(y)
    scale = float(torch.linalg.vector_norm(Ax) * torch.linalg.vector_norm(y))
    difference = abs(_inner(y, Ax) - _inner(Aty, x))
    return float(difference / scale) if scale > 0 else float(difference)


def _inner(x: torch.Tensor, y: torch.Tensor) -> complex:
    wide = torch.complex128 if x.is_complex() or y.is_complex() else torch.float64
    return complex(torch.vdot(x.flatten().to(wide), y.flatten().to(wide)))
