"""blend_to_disk: a volume out of overlapping patches, written as it is completed, and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.errors import NotFiniteError
from partunroll.patches.blended_strips import blend_in_strips
from partunroll.scratch_planes import ScratchPlanes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.grid import Patch
    from partunroll.network.gradient_log import GradientLog
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.work_folder import WorkFolder


def blend_to_disk(
    solve: Callable[[Sequence[Patch], bool], torch.Tensor],
    windows: BlendWindows,
    work: WorkFolder,
    name: str,
    *,
    device: torch.device | str = "cpu",
    batch: int = 1,
    log: GradientLog | None = None,
) -> list[float]:
    """Write a blended volume to a work folder, from where a killed process left it.

    Parameters
    ----------
    solve
        Maps a batch of patches to their voxels, and is told whether they are to be logged: those
        that were before are solved again only for what they leave to the next planes.
    windows, batch
        As for `blend_in_strips`.
    work, name
        Where the volume is written.
    device
        Where patches are added.
    log
        What `solve` logs to.

    Returns
    -------
    list
        The sums of the log over all patches; nothing without one.

    Raises
    ------
    InputError
        The planes are not finite, or `batch` is below 1.
    """
    before = work.under_way(name)
    rows: int = before.get("rows", 0)
    squares: list[float] = before.get("squares", [])
    done = rows

    def tell(planes: int) -> None:
        work.tell(name, planes=planes, rows=done, squares=squares)

    is_first = work.ranks.is_first
    writer = work.volume(name).writer(before["planes"], tell) if is_first else None
    # planes that are added up, and those that wait for the others of their chunks
    kept = windows.patches[0].shape[0] + work.volume(name).entry.chunks[0]
    with ScratchPlanes(work.path, kept, work.shape, work.dtype) as scratch:
        blended = blend_in_strips(
            lambda row, some: solve(some, row >= rows),
            windows,
            scratch,
            dtype=torch.from_numpy(work.empty()).dtype,
            device=device,
            batch=batch,
            first=before["planes"],
            check=_check_finite,
            ranks=work.ranks,
        )
        for row, stop in blended:
            if log is not None:
                fresh = log.take(work.ranks)
                squares = [a + b for a, b in zip(squares or [0.0] * len(fresh), fresh, strict=True)]
            done = max(done, row + 1)
            if writer is not None:
                writer.write_from(scratch, stop)
    return squares


def _check_finite(planes: torch.Tensor) -> None:
    if not bool(planes.isfinite().all()):
        msg = "reconstruction must be finite, got NaN or infinity; did the training diverge?"
        raise NotFiniteError(msg)
