"""from_forward: a LinearOperator of a forward function alone; the adjoint by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from normalfit.adapters.given_grid import given_grid
from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator
from normalfit.user_code import user_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.linear_operator import LinearOperator


def from_forward(
    forward: Callable[[torch.Tensor], torch.Tensor],
    shape: Sequence[int] | Grid,
    *,
    is_complex: bool = False,
    device: torch.device | str = "cpu",
) -> LinearOperator:
    """Return ``A`` of a linear function in torch; ``A* y`` is its vector-Jacobian product.

    Costs one forward application to find the range; every adjoint costs a forward and a
    backward pass.

    Parameters
    ----------
    forward
        Linear and differentiable, from ``(*shape)`` to a tensor.
    shape
        Of the volumes, or their grid.
    is_complex
        Whether the volumes are complex.
    device
        Where the range is found.

    Raises
    ------
    InputError
        ``forward(0)`` is no tensor, or not zero, or `forward` refuses single precision.
    """
    domain = given_grid("shape", shape)
    dtype = torch.complex64 if is_complex else torch.float32
    requirement = f"forward must take {dtype} volumes of shape {domain.shape}"
    with user_code(requirement, "convert them inside"):
        zero: Any = forward(torch.zeros(domain.shape, dtype=dtype, device=device))
    if not isinstance(zero, torch.Tensor) or bool(zero.any()):
        got = "values that are not zero" if isinstance(zero, torch.Tensor) else type(zero).__name__
        msg = f"forward must be linear and return a tensor, got {got} for zeros"
        raise InputError(msg)

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        # a real volume may have complex measurements, and complex ones real measurements
        precision = y.real.dtype
        x_dtype = precision.to_complex() if is_complex else precision
        # in inference mode no gradient is recorded, even where it is asked for
        with torch.inference_mode(False), torch.enable_grad():
            y = y.clone() if y.is_inference() else y
            x = torch.zeros(domain.shape, dtype=x_dtype, device=y.device, requires_grad=True)
            predicted = forward(x)
            if not predicted.requires_grad:
                msg = "forward must be differentiable in torch, got a result without gradient"
                raise InputError(msg)
            (result,) = torch.autograd.grad(predicted, x, y.to(predicted.dtype))
        return result

    return FunctionOperator(
        domain, Grid(tuple(zero.shape)), forward, adjoint, is_complex=is_complex
    )
