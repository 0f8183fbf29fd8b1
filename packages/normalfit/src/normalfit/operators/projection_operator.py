"""ProjectionOperator: what the tomographic projectors share: backends and boxes of the grid."""

from __future__ import annotations

import abc
import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid, Patch
from normalfit.linear_operator import LinearOperator
from normalfit.operators import astra_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from normalfit.operators.astra_backend import AstraProjector
    from normalfit.operators.detector_windows import DetectorWindows

    Real = NDArray[np.floating[Any]]

BACKENDS = ("auto", "astra", "numba")


class ProjectionOperator(LinearOperator):
    """A projector of a box of a grid onto windows of a detector, by numba or by ASTRA.

    The whole operator is the box that is the whole grid, with the whole detector as windows.

    Attributes
    ----------
    backend
        'numba': in the dtype of the tensor, with an exact adjoint; CUDA tensors travel through
        the host. 'astra': float32 on the GPU, and the adjoint is not exact. 'auto' takes ASTRA
        for CUDA tensors and numba for others; where ASTRA has no GPU it becomes 'numba'.
    windows
        The pixels of each view that the range holds.
    """

    windows: DetectorWindows

    def __init__(self, domain: Grid, backend: str) -> None:
        if backend not in BACKENDS:
            msg = f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}"
            raise InputError(msg)
        if backend == "astra":
            astra_backend.require_gpu()
        available = backend != "numba" and astra_backend.obstacle() is None
        self.backend = backend if available else "numba"
        self.has_exact_adjoint = self.backend == "numba"
        self._grid = domain
        self._show(Patch.whole(domain.shape))

    def backend_for(self, device: torch.device) -> str:
        """Return 'astra' or 'numba': what projects tensors of this device."""
        if self.backend == "auto":
            return "astra" if device.type == "cuda" else "numba"
        return self.backend

    def restricted(self, patch: Patch) -> Self:
        """Return ``A Pᵀ``: the scan of the patch alone, with the windows that can see it.

        On numba its matrix is bitwise that of A; ASTRA may choose another main axis for the
        windows of a view near 45°. Its cost grows with the patch, not with the volume or the
        detector. Its range holds the windows, `windows` says where they lie. A restricted
        operator can be restricted again.
        """
        patch.check_inside(self.domain.shape)
        offset = tuple(a + b for a, b in zip(self._box.offset, patch.offset, strict=True))
        part = copy.copy(self)
        part._show(Patch(offset, patch.shape))
        return part

    def _show(self, box: Patch) -> None:
        """Make this the operator of a box of the grid."""
        self._box = box
        self.windows = self._windows_of(box)
        self.domain = Grid(box.shape, self._grid.voxel_mm)
        self.range = Grid((len(self.windows.offsets), *self.windows.shape))

    def _refined_grid(self, factor: int) -> Grid:
        if factor < 1:
            msg = f"factor must be a whole number of at least 1, got {factor}"
            raise InputError(msg)
        if not self._is_whole(self._box):
            msg = f"operator must be whole to be refined, got {self._box}; refine, then restrict"
            raise InputError(msg)
        shape = tuple(factor * n for n in self._grid.shape)
        return Grid(shape, tuple(side / factor for side in self._sides_mm))

    def _is_whole(self, box: Patch) -> bool:
        return box == Patch.whole(self._grid.shape)

    @property
    def _sides_mm(self) -> tuple[float, ...]:
        return self._grid.voxel_mm or ()  # subclasses refuse grids without sizes

    def _faces_mm(self) -> NDArray[np.float64]:
        """Return the two faces of the box on every axis, ``(axes, 2)``."""
        offset, shape = np.array(self._box.offset), np.array(self._box.shape)
        faces = np.stack([offset, offset + shape], axis=1) - np.array(self._grid.shape)[:, None] / 2
        return faces * np.array(self._sides_mm)[:, None]

    @abc.abstractmethod
    def _windows_of(self, box: Patch) -> DetectorWindows:
        """Return the windows that a box needs."""

    @abc.abstractmethod
    def _project(self, x: Real) -> Real:
        """Map ``(batch, *domain.shape)`` to ``(batch, *range.shape)`` with numba."""

    @abc.abstractmethod
    def _backproject(self, y: Real) -> Real:
        """Map ``(batch, *range.shape)`` to ``(batch, *domain.shape)`` with numba."""

    @abc.abstractmethod
    def _astra(self) -> AstraProjector:
        """Return ASTRA's projector of the box onto the windows."""

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_real("x", x)
        if self.backend_for(x.device) == "astra":
            return self._astra().forward(x).reshape(len(x), *self.range.shape)
        return _on_host(self._project, x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        _check_real("y", y)
        if self.backend_for(y.device) == "astra":
            return self._astra().adjoint(y).reshape(len(y), *self.domain.shape)
        return _on_host(self._backproject, y)


def _check_real(name: str, x: torch.Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        msg = f"{name} must be float32 or float64, got {x.dtype}; convert it"
        raise InputError(msg)


def _on_host(apply: Callable[[Real], Real], x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(apply(x.cpu().numpy()))).to(x.device)
