"""store_estimate: the initial estimate of a volume that stays on disk, in the unit of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from normalfit.operators.in_slabs import adjoint_in_slabs, forward_in_slabs
from partunroll.errors import NotFiniteError
from partunroll.initial.initial_estimate import CG_TOLERANCE, least_squares_iterations
from partunroll.reconstruction.stored_conjugate_gradient import solve_stored
from partunroll.reconstruction.work_folder import INITIAL
from partunroll.volumes.resampling import HIGH_PERCENTILE
from partunroll.volumes.streamed_percentile import streamed_percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from normalfit.linear_operator import LinearOperator
    from partunroll.measurements.scan import Intensity
    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume

RAW = "raw_estimate"  # in the unit of the measurements
_RIGHT_SIDE = "backprojection"


def store_estimate(
    slabs: Iterable[torch.Tensor] | None,
    operator: LinearOperator,
    y: torch.Tensor,
    work: WorkFolder,
    planes: int,
    intensity_per_mm: Intensity,
) -> tuple[float, float]:
    """Write the initial estimate to a work folder, unless it is there.

    Parameters
    ----------
    slabs
        The estimate in the unit of the measurements, some planes at a time; None: made by least
        squares, as `least_squares_estimate` does, but with its vectors on disk.
    operator, y
        ``A`` and ``y``.
    work
        Where the volumes are.
    planes
        Planes per slab of the operator.
    intensity_per_mm
        What it is divided by; None for nothing, 'auto' for its 99.9th percentile.

    Returns
    -------
    tuple
        What it was divided by, and its 99.9th percentile after that.

    Raises
    ------
    NotFiniteError
        It is not finite, or 'auto' finds nothing but zeros in it.
    """
    if work.finished(INITIAL) is None:
        raw = _least_squares(operator, y, work, planes) if slabs is None else RAW
        if raw == RAW and work.finished(RAW) is None:
            made = slabs or _zeros(work, planes)
            if work.ranks.is_first:
                writer = work.writer(RAW)
                for slab in made:
                    writer.write(slab)
            work.finish(RAW)
        facts = _scale(work, raw, planes, intensity_per_mm) if work.ranks.is_first else {}
        work.finish(INITIAL, **facts)
        work.remove(raw, _RIGHT_SIDE)
    facts = dict(work.finished(INITIAL) or {})
    return facts["scale"], facts["reaches"]


def _scale(
    work: WorkFolder, raw: str, planes: int, intensity_per_mm: Intensity
) -> dict[str, float]:
    """Write the raw estimate in the unit of training."""
    volume, count = work.volume(raw), int(np.prod(work.shape))
    sizes = (np.abs(part) for part in _finite(volume, planes))
    reaches = streamed_percentile(sizes, count, HIGH_PERCENTILE)
    scale = reaches if intensity_per_mm == "auto" else (intensity_per_mm or 1.0)
    if not (np.isfinite(scale) and scale > 0):
        msg = f"intensity_per_mm must be a positive number, got {scale}"
        raise NotFiniteError(msg)  # of the estimate, which is not to be gone on from
    writer = work.writer(INITIAL)
    for part in _finite(volume, planes):
        writer.write(torch.from_numpy(part) / scale)
    return {"scale": scale, "reaches": reaches / scale}


def _finite(volume: StoredVolume, planes: int) -> Iterator[np.ndarray[Any, Any]]:
    for start in range(0, volume.shape[0], planes):
        part = volume[start : start + planes]
        if not np.isfinite(part).all():
            msg = "initial estimate must be finite, got NaN or infinity; replace them before"
            raise NotFiniteError(msg)
        yield part


def _least_squares(operator: LinearOperator, y: torch.Tensor, work: WorkFolder, planes: int) -> str:
    """Return the volume that some steps of conjugate gradients on ``A*A x = A*y`` give."""
    if work.finished(_RIGHT_SIDE) is None:
        if work.ranks.is_first:
            writer = work.writer(_RIGHT_SIDE)
            for _, slab in adjoint_in_slabs(operator, y, planes):
                writer.write(slab)
        work.finish(_RIGHT_SIDE)

    def normal(p: StoredVolume) -> Iterator[tuple[int, torch.Tensor]]:
        yield from adjoint_in_slabs(
            operator, forward_in_slabs(operator, p, planes, y.device), planes
        )

    x = solve_stored(
        normal, _RIGHT_SIDE, work, "least-squares",
        iterations=least_squares_iterations(operator), tolerance=CG_TOLERANCE,
    )  # fmt: skip
    return RAW if x is None else x


def _zeros(work: WorkFolder, planes: int) -> Iterator[torch.Tensor]:
    dtype = torch.from_numpy(work.empty()).dtype
    for start in range(0, work.shape[0], planes):
        yield torch.zeros(min(planes, work.shape[0] - start), *work.shape[1:], dtype=dtype)
