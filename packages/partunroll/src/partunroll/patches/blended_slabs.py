"""blend_in_slabs: a volume out of overlapping patches, of which a few planes are in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from partunroll.patches.blended_patches import batches
from partunroll.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.patches.windows import BlendWindows


@dataclass(frozen=True, eq=False)
class BlendedRow:
    """What one row of patches, those of one offset along the first axis, completes.

    Parameters
    ----------
    index
        Number of the row.
    planes
        The planes that no later patch meets, without those before the first that was wanted;
        maybe none.
    """

    index: int
    planes: torch.Tensor


def blend_in_slabs(
    solve: Callable[[int, Sequence[Patch]], torch.Tensor],
    windows: BlendWindows,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    batch: int = 1,
    first: int = 0,
    ranks: Ranks = ALONE,
) -> Iterator[BlendedRow]:
    """Yield the planes of ``Σ_i P_iᵀ (w_i ⊙ solve_i)`` in order, from plane `first` on.

    Memory is as many planes as a patch has, and one batch. Patches that end before `first` are
    left out; those that reach beyond it are solved, so that the planes come out bit for bit as
    they do from the beginning.

    Parameters
    ----------
    solve
        Maps the number of a row and a batch of its patches to their voxels, ``(batch, *p)``.
    windows
        The patches of the volume and their windows, which sum to one.
    dtype, device
        Of the planes.
    batch
        Patches that are solved together, of one row.
    first
        Planes before it are not wanted.
    ranks
        The processes that share the batches; each gets all planes.

    Raises
    ------
    InputError
        `batch` is below 1.
    """
    depth = windows.patches[0].shape[0]
    rows = _rows(windows)
    total = torch.zeros((depth, *windows.shape[1:]), dtype=dtype, device=device)
    numbers = itertools.count()
    for index, (start, patches) in enumerate(rows):
        stop = rows[index + 1][0] if index + 1 < len(rows) else windows.shape[0]
        wanted = start + depth > first
        for some in batches(patches, batch):
            if ranks.takes(next(numbers)) and wanted:
                for patch, voxels in zip(some, solve(index, some), strict=True):
                    here = total[(slice(None), *patch.slices[1:])]
                    here.add_(windows.window(patch, device, dtype) * voxels.to(here))
        if not wanted:
            continue
        done = ranks.add_up(total[: stop - start].clone())
        yield BlendedRow(index, done[max(0, first - start) :])
        kept = total[stop - start :].clone()
        total.zero_()
        total[: len(kept)] = kept


def _rows(windows: BlendWindows) -> list[tuple[int, list[Patch]]]:
    """Return the patches by their offset along the first axis, ascending."""
    by_offset = itertools.groupby(windows.patches, key=lambda patch: patch.offset[0])
    return [(offset, list(patches)) for offset, patches in by_offset]
