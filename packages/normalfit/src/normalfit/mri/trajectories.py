"""trajectory: common non-Cartesian trajectories (mri-nufft's), and their density compensation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from normalfit.errors import BackendError, InputError
from normalfit.mri.nufft import nufft_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Pattern = Literal["radial", "spiral", "stack-of-stars", "stack-of-spirals", "kooshball"]
Density = Literal["none", "pipe"]

_PIPE_ITERATIONS = 15  # of Pipe and Menon; the weights change by less than 2 % after ten

_PLANAR = {
    "radial": "radial",
    "spiral": "spiral",
    "stack-of-stars": "radial",
    "stack-of-spirals": "spiral",
}


def trajectory(
    pattern: Pattern, shape: Sequence[int], num_shots: int, num_samples: int
) -> np.ndarray:
    """Return a trajectory.

    Parameters
    ----------
    pattern
        'radial' (golden-angle spokes) and 'spiral' in two axes; 'stack-of-stars',
        'stack-of-spirals' (the same in every plane of a fully sampled first axis) and 'kooshball'
        (spokes along golden means) in three.
    shape
        Voxels of the grid.
    num_shots
        Spokes or interleaves, of each plane in a stack.
    num_samples
        Samples of each.

    Returns
    -------
    numpy.ndarray
        float64 ``(samples, axes)``, cycles per voxel, -0.5 … 0.5, axes as in `shape`.

    Raises
    ------
    InputError
        The pattern is unknown, or not one of that many axes.
    BackendError
        mri-nufft is not installed.
    """
    if pattern not in get_args(Pattern):
        msg = f"trajectory must be one of {', '.join(get_args(Pattern))}, got {pattern!r}"
        raise InputError(msg)
    axes = 2 if pattern in ("radial", "spiral") else 3
    if len(shape) != axes:
        msg = f"trajectory {pattern} must be of {axes} axes, got the shape {tuple(shape)}"
        raise InputError(msg)
    library = _mrinufft()
    with np.errstate(all="ignore"):  # a spiral of one sample divides by zero
        if pattern == "kooshball":
            return _samples(library.initialize_3D_golden_means_radial(num_shots, num_samples))
        make = getattr(library, f"initialize_2D_{_PLANAR[pattern]}")
        options = {"tilt": "golden"} if _PLANAR[pattern] == "radial" else {}
        plane = _samples(make(num_shots, num_samples, **options))
    return plane if axes == 2 else stacked(plane, shape[0])


def stacked(plane: np.ndarray, num_planes: int) -> np.ndarray:
    """Return a planar trajectory ``(samples, 2)`` in every plane of a Cartesian first axis."""
    heights = (np.arange(num_planes) - num_planes // 2) / num_planes
    return np.column_stack([np.repeat(heights, len(plane)), np.tile(plane, (num_planes, 1))])


def density_of(samples: np.ndarray, density: Density, shape: Sequence[int]) -> np.ndarray:
    """Return density compensation weights, of mean one.

    Parameters
    ----------
    samples
        The trajectory, ``(samples, axes)``.
    density
        'none' (ones) or 'pipe' (Pipe and Menon 1999: the weights of which the point spread
        function has the same sum at every sample).
    shape
        Voxels of the grid.

    Raises
    ------
    InputError
        The method is unknown.
    BackendError
        mri-nufft is not installed.
    """
    if density not in get_args(Density):
        msg = f"density must be one of {', '.join(get_args(Density))}, got {density!r}"
        raise InputError(msg)
    if density == "none":
        return np.ones(len(samples))
    cpu = torch.device("cpu")
    transform = nufft_of(samples, shape, torch.complex128, cpu, threads=1)
    weights = torch.ones(1, len(samples), dtype=torch.complex128)
    for _ in range(_PIPE_ITERATIONS):
        spread = transform.forward(transform.adjoint(weights)).abs()
        weights = weights / spread.clamp_min(1e-6 * float(spread.max()))
    found = weights[0].real.numpy()
    # weights are part of an operator's fingerprint: no thread and no processor may show in them
    return np.array([float(f"{w:.5g}") for w in found / found.mean()])


def _samples(shots: np.ndarray) -> np.ndarray:
    """Return ``(samples, axes)`` in the order (z, y, x), of shots in the order (x, y, z)."""
    flat = np.asarray(shots, dtype=np.float64).reshape(-1, shots.shape[-1])[:, ::-1]
    if not np.isfinite(flat).all():
        msg = f"num_samples must be more for this trajectory, got {shots.shape[1]}"
        raise InputError(msg)
    return np.clip(flat, -0.5, 0.5)


def _mrinufft() -> Any:  # noqa: ANN401 - a module of another library
    try:
        import mrinufft
    except ImportError as error:
        raise _missing(error) from error
    return mrinufft


def _missing(error: ImportError) -> BackendError:
    return BackendError(f"trajectories must have mri-nufft, got {error}; install normalfit[mri]")
