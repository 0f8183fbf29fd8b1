"""blend_patches: a volume out of overlapping patches, a batch of them at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import torch

from partunroll.errors import InputError
from partunroll.patches.tiling import shortest_axis
from partunroll.patches.windows import Blend, BlendWindows
from partunroll.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.patches.windows import BlendKind

Overlap = int | Literal["half"] | None


def overlapping_windows(
    shape: tuple[int, ...],
    patch_shape: int | tuple[int, ...],
    overlap: Overlap = None,
    *,
    stride: int | tuple[int, ...] | None = None,
    blend: BlendKind = "hann",
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
        volume and longer than a voxel; 'half' is half of the patch, axis by axis; None is a
        quarter of the shortest such axis (our choice).
    stride
        Voxels from one patch to the next, instead of an overlap; one number or one per axis.
    blend
        Kind of the windows, see `BlendWindows`.

    Raises
    ------
    InputError
        A patch does not fit into the volume, the overlap or the stride into a patch, both are
        given, or the kind of the windows is unknown.
    """
    lengths = (patch_shape,) if isinstance(patch_shape, int) else tuple(patch_shape)
    if len(lengths) == 1:
        lengths = tuple(min(lengths[0], n) for n in shape)
    if len(lengths) != len(shape) or not all(
        1 <= p <= n for p, n in zip(lengths, shape, strict=True)
    ):
        msg = f"patch_shape must fit into the volume {tuple(shape)}, got {lengths}"
        raise InputError(msg)
    return BlendWindows(shape, lengths, _strides(lengths, overlap, stride), blend)


def _strides(
    lengths: tuple[int, ...], overlap: Overlap, stride: int | tuple[int, ...] | None
) -> tuple[int, ...]:
    if stride is not None:
        if overlap is not None:
            msg = f"overlap must be left out with a stride, got {overlap} and {stride}"
            raise InputError(msg)
        numbers = (stride,) if isinstance(stride, int) else tuple(stride)
        if len(numbers) == 1 and numbers[0] <= max(
            lengths
        ):  # one number may be too long for an axis that was cut
            return tuple(min(numbers[0], p) for p in lengths)
        return numbers * len(lengths) if len(numbers) == 1 else numbers
    if overlap == "half":
        return tuple(p - p // 2 for p in lengths)
    shortest = shortest_axis(lengths)
    overlap = shortest // 4 if overlap is None else overlap
    if not 0 <= overlap < shortest:
        msg = f"overlap must be 0 … {shortest - 1} for {lengths}, got {overlap}"
        raise InputError(msg)
    return tuple(p - overlap if p > 1 else 1 for p in lengths)


def parse_overlap(text: str | None) -> Overlap:
    """Return what ``--overlap`` means: a number of voxels, 'half', or nothing.

    Raises
    ------
    InputError
        It is none of these.
    """
    if text is None or text == "half":
        return "half" if text else None
    if not re.fullmatch("[0-9]{1,9}", text):
        msg = f"overlap must be a number of voxels or 'half', got {text!r}"
        raise InputError(msg)
    return int(text)


def blend_patches(
    solve: Callable[[Sequence[Patch]], torch.Tensor],
    windows: BlendWindows,
    like: torch.Tensor,
    batch: int = 1,
    ranks: Ranks = ALONE,
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
    ranks
        The processes that share the batches; each gets the whole volume.
    """
    blend = Blend(windows, device=like.device, dtype=like.dtype)
    for number, patches in enumerate(batches(windows.patches, batch)):
        if not ranks.takes(number):
            continue
        for patch, voxels in zip(patches, solve(patches), strict=True):
            blend.add(patch, voxels)
    return ranks.add_up(blend.volume)


def extract(x: torch.Tensor, patches: Sequence[Patch]) -> torch.Tensor:
    """Return the patches of a volume, ``(len(patches), *p)``."""
    return torch.stack([patch.extract(x) for patch in patches])


def batches(patches: Sequence[Patch], batch: int) -> Iterator[Sequence[Patch]]:
    """Yield the patches, `batch` at a time.

    Raises
    ------
    InputError
        `batch` is below 1.
    """
    if batch < 1:
        msg = f"batch must be at least 1, got {batch}"
        raise InputError(msg)
    for first in range(0, len(patches), batch):
        yield patches[first : first + batch]
