"""apply_in_slabs: ``B x`` of a volume larger than memory, a few planes at a time (overlap-save).

A kernel of support s along the first axis lets the planes ``[a, b)`` of ``B x`` depend on the
planes ``[a − s, b + s)`` of x only. A circular convolution of that many planes is exact on the
inner ones, whatever it wraps at the ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from normalfit import fft
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.progress import Progress, no_progress
from normalfit.slab_memory import most_planes, support

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from normalfit.factor_file import FactorFile

    _Name = Literal["u", "v"]
    _Array = np.ndarray[Any, Any]

DEFAULT_BYTES = 2 * 2**30  # our choice: slabs of 512³ with short lags are then 100 planes


class Planes(Protocol):
    """What volumes are streamed from: the part of numpy's and Zarr's arrays that is used."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    @property
    def dtype(self) -> Any:  # noqa: ANN401 - numpy's
        """Dtype of the voxels."""

    def __getitem__(self, planes: Any) -> Any:  # noqa: ANN401
        """Return a slice of the first axis, as an array."""


class WritablePlanes(Planes, Protocol):
    """What volumes are streamed to."""

    def __setitem__(self, planes: Any, values: Any) -> None:  # noqa: ANN401
        """Write a slice of the first axis."""


def apply_in_slabs(
    factors: Factors | FactorFile,
    x: Planes,
    output: WritablePlanes | None = None,
    *,
    planes: int | None = None,
    max_bytes: int | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = no_progress,
) -> WritablePlanes:
    """Write ``B x`` to `output`, a slab of planes at a time, and return it.

    Equal to ``factors(x)`` up to rounding, whatever the boundary and the lags. Short lags along
    the first axis are what keeps the memory low: a slab of p planes reads p + 2 s, and where
    that is as much as the padded axis, the whole axis is one slab.

    Parameters
    ----------
    factors
        Without batch axes; of a file, diagonals are read slab by slab.
    x
        ``(*shape)``: an array of numpy or Zarr, or anything that is sliced and written as they are.
    output
        Of the same shape, not `x` itself; None makes a numpy array.
    planes, max_bytes
        As for `SlabFactors`.
    device
        Where to compute.
    progress
        Told of every slab, as stage 'slabs'.

    Raises
    ------
    InputError
        The shapes do not agree, or as `SlabFactors`.
    FactorFileError
        A chunk of the file is missing or damaged.
    """
    slabs = SlabFactors.of(factors, planes=planes, max_bytes=max_bytes, device=device)
    if output is None:
        dtype = np.result_type(x.dtype, np.complex64) if slabs.is_complex else x.dtype
        output = np.empty(slabs.shape, dtype)
    if output is x or tuple(output.shape) != slabs.shape:
        msg = f"output must be another array of shape {slabs.shape}, got {tuple(output.shape)}"
        raise InputError(msg)
    for start, slab in slabs.apply(x):
        output[start : start + len(slab)] = slab.cpu().numpy()
        progress("slabs", start + len(slab), slabs.shape[0], "")
    return output


@dataclass(frozen=True, eq=False)
class SlabFactors:
    """Factors that are applied a slab of planes at a time.

    Parameters
    ----------
    factors
        ``B``, or its file.
    kernel
        All its kernels.
    planes
        Planes of the result per slab.
    device
        Where to compute.
    """

    factors: Factors | FactorFile
    kernel: LagKernel
    planes: int
    device: torch.device | str

    @classmethod
    def of(
        cls,
        factors: Factors | FactorFile,
        *,
        planes: int | None = None,
        max_bytes: int | None = None,
        device: torch.device | str = "cpu",
    ) -> SlabFactors:
        """Return factors, cut into slabs.

        Parameters
        ----------
        factors
            Without batch axes.
        planes
            Planes per slab; rounded up to what the FFT takes for the same time.
        max_bytes
            Instead: what a slab may take, volumes and factors in memory not counted; None is
            2 GiB.
        device
            Where to compute.

        Raises
        ------
        InputError
            `planes` is below 1, a slab of one plane takes more than `max_bytes`, or the factors
            carry batch axes.
        """
        kernel = factors.kernel if isinstance(factors, Factors) else factors.load_kernel()
        if kernel.values.ndim != len(kernel.shape) + 1:
            msg = f"factors must have no batch axes, got kernels {tuple(kernel.values.shape)}"
            raise InputError(msg)
        if planes is not None and planes < 1:
            msg = f"planes must be at least 1, got {planes}"
            raise InputError(msg)
        if planes is None:
            allowed = DEFAULT_BYTES if max_bytes is None else max_bytes
            planes = most_planes(kernel, factors.terms, allowed)
        points = fft.fast_length(planes + 2 * support(kernel))
        whole = points >= kernel.grid.fft_shape[0]
        planes = kernel.shape[0] if whole else points - 2 * support(kernel)
        return cls(factors, kernel.to(device, None), planes, device)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.kernel.shape

    @property
    def is_complex(self) -> bool:
        """Whether results are complex whatever x is."""
        return self.factors.is_complex

    def apply(self, x: Planes) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the first plane and the planes of every slab of ``B x``, in order.

        Raises
        ------
        InputError
            `x` has another shape.
        FactorFileError
            A chunk of the file is missing or damaged.
        """
        if tuple(x.shape) != self.shape:
            msg = f"x must have the shape {self.shape}, got {tuple(x.shape)}"
            raise InputError(msg)
        for start in range(0, self.shape[0], self.planes):
            yield start, self._slab(x, start, min(self.planes, self.shape[0] - start))

    @cached_property
    def _is_whole(self) -> bool:
        return self.planes == self.shape[0]

    @cached_property
    def _halo(self) -> int:
        return 0 if self._is_whole else support(self.kernel)

    @cached_property
    def _slab_kernel(self) -> LagKernel:
        """The kernel on a periodic grid of one slab and its halo."""
        if self._is_whole:
            return self.kernel
        shape = (self.planes + 2 * self._halo, *self.shape[1:])
        return LagKernel(self.kernel.values, shape, ("periodic", *self.kernel.boundary[1:]))

    @torch.no_grad()
    def _slab(self, x: Planes, start: int, num_planes: int) -> torch.Tensor:
        first, kernel = start - self._halo, self._slab_kernel
        region = torch.from_numpy(self._around(lambda a, b: np.asarray(x[a:b]), first))
        v = self._diagonal("v", first)
        u = self._diagonal_of_planes("u", start, start + num_planes)
        if u is not None:  # on the slab only: what the halo gives is cut off
            whole = u.new_zeros((len(u), *kernel.shape))
            whole[:, self._halo : self._halo + num_planes] = u
            u = whole
        diagonals = [None if d is None else d.to(self.device) for d in (u, v)]
        result = Factors(kernel, *diagonals)(region.to(self.device))
        return result[self._halo : self._halo + num_planes]

    def _diagonal(self, name: _Name, first: int) -> torch.Tensor | None:
        """Return u or v on the planes from `first` on that a slab reads, ``(terms, …)``."""
        if self._diagonal_of_planes(name, 0, 1) is None:
            return None

        def read(a: int, b: int) -> _Array:
            planes = self._diagonal_of_planes(name, a, b)
            assert planes is not None  # noqa: S101 - it is there on other planes
            return planes.cpu().resolve_conj().movedim(0, 1).numpy()

        return torch.from_numpy(self._around(read, first)).movedim(1, 0)

    def _diagonal_of_planes(self, name: _Name, start: int, stop: int) -> torch.Tensor | None:
        patch = Patch((start, *[0] * (len(self.shape) - 1)), (stop - start, *self.shape[1:]))
        if isinstance(self.factors, Factors):
            image = self.factors.u if name == "u" else self.factors.v
            return None if image is None else patch.extract(image)
        return self.factors.read_diagonal(name, patch)

    def _around(self, read: Callable[[int, int], _Array], first: int) -> _Array:
        """Return the planes that a slab reads: of what lies outside, zeros or the other end."""
        n, num_planes = self.shape[0], self._slab_kernel.shape[0]
        if self._is_whole:
            whole = np.ascontiguousarray(read(0, n))
            return whole if whole.flags.writeable else whole.copy()
        if self.kernel.boundary[0] == "periodic":
            parts, done = [], 0
            while done < num_planes:
                a = (first + done) % n
                b = min(n, a + num_planes - done)
                parts.append(read(a, b))
                done += b - a
            return np.concatenate(parts)
        inside = read(max(0, first), min(n, first + num_planes))
        around = np.zeros((num_planes, *inside.shape[1:]), inside.dtype)
        before = max(0, -first)
        around[before : before + len(inside)] = inside
        return around
