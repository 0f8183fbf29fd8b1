"""Grid: the shape of a domain or a range.  Patch: a box of voxels inside a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from normalfit.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Grid:
    """A regular grid of samples.

    Parameters
    ----------
    shape
        Number of samples per axis, ``(z, y, x)`` or ``(y, x)`` for volumes.
    voxel_mm
        Side lengths of a voxel in the same order; None where the samples have no size.

    Raises
    ------
    InputError
        An axis is empty, or `voxel_mm` does not fit `shape` or is not positive.
    """

    shape: tuple[int, ...]
    voxel_mm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not self.shape or min(self.shape) < 1:
            msg = f"grid shape must have axes of at least one sample, got {self.shape}"
            raise InputError(msg)
        if self.voxel_mm is None:
            return
        object.__setattr__(self, "voxel_mm", tuple(float(side) for side in self.voxel_mm))
        if len(self.voxel_mm) != len(self.shape) or not all(side > 0 for side in self.voxel_mm):
            msg = (
                f"voxel_mm must be {len(self.shape)} positive lengths, one per axis of "
                f"{self.shape}, got {self.voxel_mm}"
            )
            raise InputError(msg)

    @property
    def num_samples(self) -> int:
        """Number of samples of the grid."""
        return math.prod(self.shape)

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclass(frozen=True)
class Patch:
    """A box of voxels: the extraction ``P`` of the paper, eq. (10).

    Parameters
    ----------
    offset
        First voxel per axis.
    shape
        Number of voxels per axis.
    """

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", tuple(int(o) for o in self.offset))
        object.__setattr__(self, "shape", tuple(int(p) for p in self.shape))
        valid = len(self.offset) == len(self.shape) and self.shape
        if not valid or min(self.shape) < 1 or min(self.offset) < 0:
            msg = (
                "patch must have one offset >= 0 and one length >= 1 per axis, "
                f"got offset {self.offset}, shape {self.shape}"
            )
            raise InputError(msg)

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Patch:
        """Return the patch that is the whole grid."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def slices(self) -> tuple[slice, ...]:
        """One slice per axis."""
        return tuple(slice(o, o + p) for o, p in zip(self.offset, self.shape, strict=True))

    @property
    def _index(self) -> Any:  # noqa: ANN401 - torch does not name the type of its indices
        return (..., *self.slices)

    def check_inside(self, shape: tuple[int, ...]) -> None:
        """Raise InputError unless the patch lies inside a grid of this shape."""
        inside = len(shape) == len(self.shape) and all(
            o + p <= n for o, p, n in zip(self.offset, self.shape, shape, strict=False)
        )
        if not inside:
            msg = (
                f"patch must lie inside the grid {tuple(shape)}, "
                f"got offset {self.offset}, shape {self.shape}"
            )
            raise InputError(msg)

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``P x``: the patch of ``(..., *grid)``, a view of shape ``(..., *shape)``."""
        return x[self._index]

    def embed(self, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Return ``Pᵀ x``: zeros of ``(..., *shape)`` with the patch written into them."""
        batch = x.shape[: x.ndim - len(self.shape)]
        full = x.new_zeros((*batch, *shape))
        full[self._index] = x
        return full
