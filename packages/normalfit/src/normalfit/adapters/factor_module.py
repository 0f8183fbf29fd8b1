"""FactorModule: factors as a torch module, with their arrays as buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.precision import HALF

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


class FactorModule(torch.nn.Module):
    """``B`` as a layer without parameters; `.to()` and the state dict take it along.

    Complex factors are kept as pairs of real numbers: DDP with NCCL breaks complex buffers.
    `.to()` therefore changes precision and device, never real to complex. Half precision asked
    of it, as for a whole network, leaves them in single: kernels exceed its range. Its argument
    may be in half precision, and so is the result then.

    Parameters
    ----------
    factors
        The factors; a state dict fits modules of the same shapes.
    """

    kernel: torch.Tensor
    u: torch.Tensor | None
    v: torch.Tensor | None

    def __init__(self, factors: Factors) -> None:
        super().__init__()
        self._shape, self._boundary = factors.shape, factors.boundary
        self._complex: dict[str, bool] = {}
        arrays = {"kernel": factors.kernel.values, "u": factors.u, "v": factors.v}
        for name, array in arrays.items():
            self._complex[name] = array is not None and array.is_complex()
            self.register_buffer(name, None if array is None else _buffer(array))
        self._cached: tuple[tuple[int, ...], Factors] | None = None

    @property
    def factors(self) -> Factors:
        """The factors, from the buffers as they are now; their spectra are kept between calls."""
        buffers = [self.kernel, self.u, self.v]
        # a buffer that was replaced or written to makes the spectra stale; an inference tensor
        # (a state dict that is assigned may bring one) cannot tell, so nothing is kept of it
        untold = any(b is not None and b.is_inference() for b in buffers)
        state = () if untold else tuple(-1 if b is None else _state(b) for b in buffers)
        if untold or self._cached is None or self._cached[0] != state:
            kernel, u, v = (self._array(name) for name in ("kernel", "u", "v"))
            assert kernel is not None  # noqa: S101 - factors have one
            made = Factors(LagKernel(kernel, self._shape, self._boundary), u, v)
            self._cached = (state, made)
        return self._cached[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B x``, shape ``(..., *shape)``."""
        return self.factors(x)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move the buffers as torch does, but never to inference tensors or half precision."""

        def moved(buffer: torch.Tensor) -> torch.Tensor:
            result = fn(buffer)
            if result.is_complex():
                return buffer.to(result.device, result.dtype.to_real())
            return buffer.to(result.device, torch.float32) if result.dtype in HALF else result

        with torch.inference_mode(False):
            return super()._apply(moved, recurse)  # type: ignore[no-untyped-call] # torch says none

    def _array(self, name: str) -> torch.Tensor | None:
        buffer: torch.Tensor | None = getattr(self, name)
        if buffer is not None and buffer.dtype in HALF:  # a state dict that was assigned
            buffer = buffer.float()
        if buffer is None or not self._complex[name]:
            return buffer
        return torch.view_as_complex(buffer.contiguous())


def _buffer(array: torch.Tensor) -> torch.Tensor:
    """Return complex numbers as pairs of real ones, and no inference tensor."""
    with torch.inference_mode(False):
        array = array.clone() if array.is_inference() else array
        return torch.view_as_real(array.resolve_conj()) if array.is_complex() else array


def _state(buffer: torch.Tensor) -> int:
    return hash((buffer.data_ptr(), buffer._version, buffer.dtype, buffer.device))
