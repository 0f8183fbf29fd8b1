"""write_initial_estimate: the initial estimate of a volume that does not fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import zarr

from normalfit.grid import Grid
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.operators.parallel_beam import ParallelBeam
from partunroll.errors import InputError
from partunroll.initial.fbp import fbp
from partunroll.initial.fdk import check_circle, fdk
from partunroll.initial.initial_estimate import estimate_method

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from normalfit.linear_operator import LinearOperator
    from partunroll.initial.initial_estimate import Method


def filtered_slabs(
    operator: LinearOperator,
    y: torch.Tensor,
    planes: int,
    window: str = "hann",
    method: Method = "auto",
) -> Iterator[torch.Tensor]:
    """Yield the planes of filtered backprojection in order, a slab at a time.

    A slab is a volume of its own in a scan that is moved the other way, so every slab filters
    the projections anew: memory is two copies of the projections and a slab.

    Parameters
    ----------
    operator
        A cone beam, or a parallel beam in 3-D.
    y
        Its measurements.
    planes
        Planes per slab.
    window, method
        As for `initial_estimate`.

    Raises
    ------
    InputError
        The operator or the method makes the estimate from the whole volume at once.
    """
    used = estimate_method(operator, method)
    if isinstance(operator, ConeBeam) and used == "fdk":
        support_mm = check_circle(operator)
        for start, num_planes in _slabs(operator.domain, planes):
            yield fdk(_moved(operator, start, num_planes), y, window, support_mm=support_mm)
        return
    if isinstance(operator, ParallelBeam) and used == "fbp" and operator.domain.num_axes == 3:
        for start, num_planes in _slabs(operator.domain, planes):
            grid = Grid((num_planes, *operator.domain.shape[1:]), operator.domain.voxel_mm)
            part = ParallelBeam(grid, operator.geometry, operator.backend)
            yield fbp(part, y[:, start : start + num_planes], window)
        return
    msg = (
        f"method must be filtered backprojection of a 3-D scan to be made in slabs, got {used} for "
        f"{operator.domain.shape}; use least squares, or give an initial estimate"
    )
    raise InputError(msg)


def open_planes(path: Path, shape: tuple[int, ...], *, is_complex: bool = False) -> Any:  # noqa: ANN401 - numpy's or Zarr's
    """Return an array on disk whose planes are read as they are asked for.

    Parameters
    ----------
    path
        A Zarr array or .npy.
    shape
        That it must have.
    is_complex
        Whether it may be complex.

    Raises
    ------
    InputError
        It is neither a Zarr array nor .npy, has another shape, does not hold numbers, or cannot
        be read.
    """
    values: Any = None
    try:
        if path.suffix == ".npy" and path.is_file():
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.is_dir():
            values = zarr.open(path, mode="r")
    except Exception as error:  # numpy's and zarr's are of many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"initial estimate must be readable, got {path}: {reason}"
        raise InputError(msg) from error
    if not hasattr(values, "shape") or tuple(values.shape) != shape:
        other = "something else" if path.exists() else "nothing"
        found = tuple(values.shape) if hasattr(values, "shape") else other
        msg = (
            f"initial estimate must be a Zarr array or .npy of the shape {shape} where volumes "
            f"stay on disk, got {found} at {path}"
        )
        raise InputError(msg)
    if values.dtype.kind not in ("biufc" if is_complex else "biuf"):
        kind = "numbers" if is_complex else "real numbers"
        msg = f"initial estimate must hold {kind}, got {values.dtype} in {path}"
        raise InputError(msg)
    return values


def given_slabs(values: Any, planes: int) -> Iterator[torch.Tensor]:  # noqa: ANN401
    """Yield the planes of an array in order, as float32 or complex64."""
    for start in range(0, values.shape[0], planes):
        slab = np.array(values[start : start + planes])
        yield torch.from_numpy(slab.astype(np.complex64 if slab.dtype.kind == "c" else np.float32))


def _slabs(grid: Grid, planes: int) -> Iterator[tuple[int, int]]:
    for start in range(0, grid.shape[0], planes):
        yield start, min(planes, grid.shape[0] - start)


def _moved(operator: ConeBeam, start: int, num_planes: int) -> ConeBeam:
    """Return the scan of some planes alone, which lie about the origin of its geometry."""
    side_mm = (operator.domain.voxel_mm or (1.0,))[0]
    vectors = np.array(operator.geometry.vectors, dtype=np.float64)
    height_mm = (start + 0.5 * (num_planes - operator.domain.shape[0])) * side_mm
    vectors[:, [2, 5]] -= height_mm  # z of source and detector
    geometry = ConeGeometry(vectors, operator.geometry.detector_shape)
    grid = Grid((num_planes, *operator.domain.shape[1:]), operator.domain.voxel_mm)
    return ConeBeam(grid, geometry, operator.backend)
