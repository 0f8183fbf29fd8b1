"""tile: the overlapping patches that cover a grid."""

from __future__ import annotations

import itertools

from normalfit.grid import Patch
from partunroll.errors import InputError


def tile(
    shape: tuple[int, ...], patch_shape: tuple[int, ...], stride: tuple[int, ...] | int
) -> tuple[Patch, ...]:
    """Return patches that cover the grid, every one inside it and of the same shape.

    Along each axis the offsets are 0, stride, 2 stride, … and always the last one that fits,
    so the last patch overlaps its neighbour by more where the stride does not divide.

    Parameters
    ----------
    shape, patch_shape
        Voxels per axis of the grid and of a patch.
    stride
        Voxels from one patch to the next, per axis or the same for all.

    Raises
    ------
    InputError
        A patch is longer than the grid, or a stride is not in 1 … patch length.
    """
    strides = axis_strides(patch_shape, stride)
    if len(shape) != len(patch_shape):
        msg = f"patch_shape must have one length per axis of {tuple(shape)}, got {patch_shape}"
        raise InputError(msg)
    axes = map(axis_offsets, shape, patch_shape, strides)
    return tuple(Patch(offset, tuple(patch_shape)) for offset in itertools.product(*axes))


def axis_offsets(length: int, patch_length: int, stride: int) -> tuple[int, ...]:
    """Return the offsets of `tile` along one axis, ascending, the last one included."""
    if not 1 <= patch_length <= length:
        msg = f"patch length must be 1 … {length} (the grid), got {patch_length}"
        raise InputError(msg)
    if not 1 <= stride <= patch_length:
        msg = f"stride must be 1 … {patch_length} (the patch) to leave no gap, got {stride}"
        raise InputError(msg)
    last = length - patch_length
    return (*range(0, last, stride), last)


def axis_strides(patch_shape: tuple[int, ...], stride: tuple[int, ...] | int) -> tuple[int, ...]:
    """Return one stride per axis."""
    strides = (stride,) * len(patch_shape) if isinstance(stride, int) else tuple(stride)
    if len(strides) != len(patch_shape):
        msg = f"stride must be one number or one per axis of {tuple(patch_shape)}, got {stride}"
        raise InputError(msg)
    return strides


def shortest_axis(patch_shape: tuple[int, ...]) -> int:
    """Return the shortest length that can overlap: slices have none across themselves.

    Axes of one voxel are passed over, unless there are no others.
    """
    return min([p for p in patch_shape if p > 1], default=1)
