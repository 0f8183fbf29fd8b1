"""from_physics: deepinv's linear physics as a LinearOperator."""

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

_ROUNDING = 1e-3  # of float32, with room for FFTs


def from_physics(
    physics: Any,
    shape: Sequence[int],
    *,
    has_exact_adjoint: bool = True,
) -> LinearOperator:
    """Return ``A`` of a deepinv `LinearPhysics`; costs one application of A, of two channels three.

    deepinv's images are ``(batch, channels, *shape)``. One channel is a real volume. Two are
    the real and imaginary part of a complex one (deepinv's MRI), and measurements with a second
    axis of two then become complex too.

    Parameters
    ----------
    physics
        Has `A` and `A_adjoint`.
    shape
        ``(channels, *volume)``, as deepinv's `img_size`, with one or two channels.
    has_exact_adjoint
        Whether `A_adjoint` is exact.

    Raises
    ------
    InputError
        There are other numbers of channels, images of another shape, measurements that are no
        tensor, or of a batch, or two channels are not treated as one complex number.
    """
    channels, *volume = given_grid("shape", shape).shape
    if channels not in (1, 2) or not volume:
        msg = (
            "shape must be (channels, *volume) with one channel, or two for real and imaginary "
            f"part, got {(channels, *volume)}"
        )
        raise InputError(msg)
    is_complex = channels == 2
    name, zeros = type(physics).__name__, torch.zeros(1, channels, *volume)
    with user_code(f"shape must be that of {name}'s images", f"given is {(channels, *volume)}"):
        probe = physics.A(zeros.to(_device_of(physics)))
    if not isinstance(probe, torch.Tensor) or probe.ndim < 2 or probe.shape[0] != 1:
        got = tuple(probe.shape) if isinstance(probe, torch.Tensor) else type(probe).__name__
        msg = f"physics must measure tensors (batch, ...), got {got}; stack lists into one tensor"
        raise InputError(msg)
    paired = is_complex and probe.shape[1] == 2
    measured = tuple(probe.shape[2:] if paired else probe.shape[1:])

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = physics.A(_pair(x) if is_complex else x[:, None])
        return _unpaired(y) if paired else y

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        x = physics.A_adjoint(_pair(y) if paired else y)
        return _unpaired(x) if is_complex else x[:, 0]

    if is_complex:
        _check_complex_linear(forward, tuple(volume), probe.device, name)
    return FunctionOperator(
        Grid(tuple(volume)),
        Grid(measured),
        forward,
        adjoint,
        batched=True,
        has_exact_adjoint=has_exact_adjoint,
        is_complex=is_complex,
    )


def _check_complex_linear(
    forward: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    device: torch.device,
    name: str,
) -> None:
    """Refuse physics whose two channels are not real and imaginary part: ``A(ix) = i A(x)``."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, *shape, dtype=torch.complex64, generator=draw).to(device)
    y, turned = 1j * forward(x), forward(1j * x)
    if not bool((turned - y).norm() <= _ROUNDING * y.norm()):
        msg = (
            f"physics must be linear over the complex numbers in two channels, got {name}; "
            "give it a shape of one channel, once for each"
        )
        raise InputError(msg)


def _pair(x: torch.Tensor) -> torch.Tensor:
    """Return real and imaginary part as the second axis."""
    return torch.stack([x.real, x.imag], 1)


def _unpaired(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(x[:, 0].contiguous(), x[:, 1].contiguous())


def _device_of(physics: Any) -> torch.device | str:
    return next((b.device for b in physics.buffers()), torch.device("cpu"))
