"""FactorModule: factors as a torch module, with their arrays as buffers."""

from __future__ import annotations

import torch

from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel


class FactorModule(torch.nn.Module):
    """``B`` as a layer without parameters; `.to()` and the state dict take it along.

    Complex factors are kept as pairs of real numbers: DDP with NCCL breaks complex buffers.
    `.to()` therefore changes precision and device, never real to complex.

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
            self.register_buffer(name, _real(array))
        self._cached: tuple[tuple[int, ...], Factors] | None = None

    @property
    def factors(self) -> Factors:
        """The factors, from the buffers as they are now; their spectra are kept between calls."""
        buffers = [self.kernel, self.u, self.v]
        # a buffer that was replaced or written to makes the spectra stale
        state = tuple(
            -1 if b is None else hash((b.data_ptr(), b._version, b.dtype, b.device))
            for b in buffers
        )
        if self._cached is None or self._cached[0] != state:
            kernel, u, v = (self._array(name) for name in ("kernel", "u", "v"))
            assert kernel is not None  # noqa: S101 - factors have one
            made = Factors(LagKernel(kernel, self._shape, self._boundary), u, v)
            self._cached = (state, made)
        return self._cached[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B x``, shape ``(..., *shape)``."""
        return self.factors(x)

    def _array(self, name: str) -> torch.Tensor | None:
        buffer: torch.Tensor | None = getattr(self, name)
        if buffer is None or not self._complex[name]:
            return buffer
        return torch.view_as_complex(buffer.contiguous())


def _real(array: torch.Tensor | None) -> torch.Tensor | None:
    """Return complex numbers as pairs of real ones."""
    if array is None or not array.is_complex():
        return array
    return torch.view_as_real(array.resolve_conj())
