"""blend_patches: a volume out of overlapping patches, a batch of them at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.errors import InputError
from partunroll.tiling import shortest_axis
from partunroll.windows import Blend, BlendWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch


def overlapping_windows(
    shape: tuple[int, ...], patch_shape: int | tuple[int, ...], overlap: int | None = None
) -> BlendWindows:
    """Return the patches that a volume is worked on in, and their windows.

    Parameters
    ----------
    shape
        Voxels per axis of the volume.
    patch_shape
        Voxels per axis of a patch; one number is a cube, cut where the volume is thinner.
    overlap
        Voxels that neighbours share along every axis on which a patch is shorter than the
        volume and longer than a voxel; None is a quarter of the shortest such axis (our choice).

    Raises
    ------
    InputError
        A patch does not fit into the volume, or the overlap into a patch.
    """
    lengths = (patch_shape,) if isinstance(patch_shape, int) else tuple(patch_shape)
    if len(lengths) == 1:
        lengths = tuple(min(lengths[0], n) for n in shape)
    if len(lengths) != len(shape) or not all(
        1 <= p <= n for p, n in zip(lengths, shape, strict=True)
    ):
        msg = f"patch_shape must fit into the volume {tuple(shape)}, got {lengths}"
        raise InputError(msg)
    shortest = shortest_axis(lengths)
    overlap = shortest // 4 if overlap is None else overlap
    if not 0 <= overlap < shortest:
        msg = f"overlap must be 0 … {shortest - 1} for {lengths}, got {overlap}"
        raise InputError(msg)
    return BlendWindows(shape, lengths, tuple(p - overlap if p > 1 else 1 for p in lengths))


def blend_patches(
    solve: Callable[[Sequence[Patch]], torch.Tensor],
    windows: BlendWindows,
    like: torch.Tensor,
    batch: int = 1,
) -> torch.Tensor:
    """Return ``Σ_i P_iᵀ (w_i ⊙ solve_i)``; memory is the volume and one batch of patches.

    Parameters
    ----------
    solve
        Maps a batch of patches to their voxels, ``(batch, *p)``.
    windows
        The patches of the volume and their windows, which sum to one.
    like
        A volume of the dtype and device that the result is to have.
    batch
        Patches that are solved together.
    """
    blend = Blend(windows, device=like.device, dtype=like.dtype)
    for patches in _batches(windows.patches, batch):
        for patch, voxels in zip(patches, solve(patches), strict=True):
            blend.add(patch, voxels)
    return blend.volume


def extract(x: torch.Tensor, patches: Sequence[Patch]) -> torch.Tensor:
    """Return the patches of a volume, ``(len(patches), *p)``."""
    return torch.stack([patch.extract(x) for patch in patches])


def _batches(patches: Sequence[Patch], batch: int) -> Iterator[Sequence[Patch]]:
    if batch < 1:
        msg = f"batch must be at least 1, got {batch}"
        raise InputError(msg)
    for first in range(0, len(patches), batch):
        yield patches[first : first + batch]
