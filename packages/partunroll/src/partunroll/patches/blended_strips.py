"""blend_in_strips: a volume out of overlapping patches, of which one strip is in memory."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from partunroll.patches.blended_patches import batches
from partunroll.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.patches.windows import BlendWindows
    from partunroll.scratch_planes import ScratchPlanes


def blend_in_strips(
    solve: Callable[[int, Sequence[Patch]], torch.Tensor],
    windows: BlendWindows,
    scratch: ScratchPlanes,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    batch: int = 1,
    first: int = 0,
    check: Callable[[torch.Tensor], None] = lambda _: None,
    ranks: Ranks = ALONE,
) -> Iterator[tuple[int, int]]:
    """Write the planes of ``Σ_i P_iᵀ (w_i ⊙ solve_i)`` to `scratch`, in order.

    Yields, for every row of patches (those of one offset along the first axis), its number and
    the planes that are complete: those that no later patch meets. Memory is one strip, as long
    as the volume and as wide and deep as a patch, and one batch.

    Patches that end before plane `first` are left out; those that reach beyond it are solved, so
    that the planes from `first` on come out bit for bit as they do from the beginning.

    Parameters
    ----------
    solve
        Maps the number of a row and a batch of its patches to their voxels, ``(batch, *p)``.
    windows
        The patches of the volume and their windows, which sum to one.
    scratch
        Holds at least as many planes as a patch has; with each process its own.
    dtype, device
        Of the strip.
    batch
        Patches that are solved together, of one row.
    first
        Planes before it are not wanted.
    check
        Called with the voxels that are complete, in every process.
    ranks
        The processes that share the batches; complete planes are right in each.

    Raises
    ------
    InputError
        `batch` is below 1.
    """
    depth = windows.patches[0].shape[0]
    rows = _rows(windows)
    numbers = itertools.count()
    carried = 0  # planes before it hold what earlier rows of patches left
    for index, (start, patches) in enumerate(rows):
        stop = rows[index + 1][0] if index + 1 < len(rows) else windows.shape[0]
        wanted = start + depth > first
        strip = _Strip(windows, scratch, (start, stop), carried, dtype, device, check, ranks)
        for some in batches(patches, batch):
            mine = ranks.takes(next(numbers)) and wanted
            solved = solve(index, some) if mine else itertools.repeat(None)
            for patch, voxels in zip(some, solved, strict=False) if wanted else ():
                strip.add(patch, voxels)
        if wanted:
            strip.close()
            carried = start + depth
        del strip  # the next row's would be made beside it
        if wanted:
            yield index, stop


class _Strip:
    """What the patches of one row add up to, where no later patch of the row has come by."""

    def __init__(
        self,
        windows: BlendWindows,
        scratch: ScratchPlanes,
        planes: tuple[int, int],
        carried: int,
        dtype: torch.dtype,
        device: torch.device | str,
        check: Callable[[torch.Tensor], None],
        ranks: Ranks,
    ) -> None:
        depth, *_ = shape = windows.patches[0].shape
        self._start, self._complete = planes[0], planes[1] - planes[0]
        self._carried = range(self._start, max(self._start, carried))
        self._lead = 2 if len(shape) > 2 else 1  # an image has one strip, as wide as itself
        self._width = shape[1] if self._lead == 2 else windows.shape[1]
        self._sum = torch.zeros(
            (depth, self._width, *windows.shape[2:]), dtype=dtype, device=device
        )
        self._row: int | None = None  # of the volume's second axis, the strip's first
        self._windows, self._scratch = windows, scratch
        self._check, self._ranks = check, ranks

    def add(self, patch: Patch, voxels: torch.Tensor | None) -> None:
        """Add a patch, which is no earlier one along the second axis; None adds nothing."""
        self._advance(patch.offset[1] if self._lead == 2 else 0)
        if voxels is not None:
            here = self._sum[(*[slice(None)] * self._lead, *patch.slices[self._lead :])]
            window = self._windows.window(patch, here.device, here.dtype)
            here.add_(window * voxels.to(here))

    def close(self) -> None:
        """Give away all rows."""
        self._give_away(self._width)

    def _advance(self, row: int) -> None:
        if self._row is None:
            self._row = row
            self._take_over(0)
            return
        passed = row - self._row
        if not passed:
            return
        self._give_away(passed)
        kept = self._width - passed
        self._sum[:, :kept] = self._sum[:, passed:].clone()
        self._row = row
        self._take_over(kept)

    def _take_over(self, first: int) -> None:
        """Begin the strip's rows from `first` on with what earlier rows of patches left there."""
        assert self._row is not None  # noqa: S101 - a patch was added
        fresh = self._sum[:, first:]
        fresh.zero_()
        if self._carried:
            rows = range(self._row + first, self._row + self._width)
            left = torch.from_numpy(self._scratch.read(self._carried, rows))
            fresh[: len(self._carried)] = left.to(fresh)

    def _give_away(self, count: int) -> None:
        """Write the first rows: the planes that are complete, and those that are to be."""
        if self._row is None:
            return
        rows = range(self._row, self._row + count)
        for start, planes in (
            (self._start, self._together(self._sum[: self._complete, :count])),
            (self._start + self._complete, self._sum[self._complete :, :count]),
        ):
            self._scratch.write(start, rows, planes.cpu().resolve_conj().numpy())

    def _together(self, planes: torch.Tensor) -> torch.Tensor:
        complete = self._ranks.add_up(planes.clone()) if self._ranks.size > 1 else planes
        self._check(complete)
        return complete


def _rows(windows: BlendWindows) -> list[tuple[int, list[Patch]]]:
    """Return the patches by their offset along the first axis, ascending."""
    by_offset = itertools.groupby(windows.patches, key=lambda patch: patch.offset[0])
    return [(offset, list(patches)) for offset, patches in by_offset]
