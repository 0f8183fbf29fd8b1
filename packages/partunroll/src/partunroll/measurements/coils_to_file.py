"""Files that an MRI operator is made of, out of files of k-space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from normalfit.mri.coil_compression import compress_coils
from normalfit.mri.coil_maps import estimate_coil_maps
from partunroll.errors import InputError
from partunroll.store.array_output import save_array
from partunroll.volumes.volume_file import read_measurements

if TYPE_CHECKING:
    from pathlib import Path


def coil_maps_to_file(
    kspace: Path | str,
    output: Path,
    *,
    calibration: int = 24,
    method: Literal["calibration", "espirit"] = "calibration",
    hybrid_axis: int | None = None,
) -> str:
    """Estimate coil maps and write them; returns what was done, in words.

    Parameters
    ----------
    kspace
        File of centred k-space ``(coils, *shape)``.
    output
        A new ``.npy``.
    calibration, method
        As for `estimate_coil_maps`.
    hybrid_axis
        Spatial axis that is in image space already; None: no axis is.

    Raises
    ------
    InputError
        Files or arguments do not meet their requirements.
    """
    _check_npy(output)
    values = _read_kspace(kspace)
    num_axes = values.ndim - 1
    _check_axis(hybrid_axis, num_axes)
    axes = tuple(axis for axis in range(num_axes) if axis != hybrid_axis)
    maps = estimate_coil_maps(values, calibration, method=method, axes=axes)
    save_array(output, maps.numpy(), {})
    covered = float((maps.abs().square().sum(0) > 0).double().mean())
    return (
        f"{output}: {len(maps)} coil maps of {' × '.join(map(str, maps.shape[1:]))}, {method}, "
        f"{covered:.0%} of the grid covered"
    )


def sampling_mask_to_file(
    kspace: Path | str, output: Path, *, hybrid_axis: int | None = None
) -> str:
    """Write the mask of what is not zero in any coil; returns the acceleration, in words.

    Along a hybrid axis, which is in image space, the mask is one for all, and loses that axis.

    Raises
    ------
    InputError
        Files do not meet their requirements, or all is zero.
    """
    _check_npy(output)
    values = _read_kspace(kspace)
    _check_axis(hybrid_axis, values.ndim - 1)
    sampled = (values != 0).any(0)
    measured = (sampled if hybrid_axis is None else sampled.any(hybrid_axis)).numpy()
    if not measured.any():
        msg = f"kspace must hold samples that are not zero, got none in {kspace}"
        raise InputError(msg)
    save_array(output, measured, {})
    count = int(measured.sum())
    return f"{output}: {count} of {measured.size} points, acceleration {measured.size / count:.2f}"


def compressed_to_file(kspace: Path | str, output: Path, *, coils: int) -> str:
    """Write k-space of fewer virtual coils; returns the energy that is kept, in words.

    Raises
    ------
    InputError
        Files or arguments do not meet their requirements.
    """
    _check_npy(output)
    values = _read_kspace(kspace)
    compression = compress_coils(values, coils)
    save_array(output, compression(values).numpy(), {})
    return f"{output}: {coils} of {len(values)} coils, {compression.kept_energy:.2%} of the energy"


def _read_kspace(path: Path | str) -> torch.Tensor:
    values = read_measurements(path).values
    if values.dtype != np.complex64 or values.ndim not in (3, 4):
        msg = (
            "kspace must be complex with the axes (coils, y, x) or (coils, z, y, x), "
            f"got {values.dtype} of shape {values.shape} in {path}"
        )
        raise InputError(msg)
    if values.ndim == 4 and values.shape[1] == 1:  # BART keeps the z of a slice
        values = values[:, 0]
    return torch.from_numpy(values)


def _check_axis(hybrid_axis: int | None, num_axes: int) -> None:
    if hybrid_axis is not None and hybrid_axis >= num_axes:
        msg = f"hybrid_axis must be below {num_axes}, got {hybrid_axis}"
        raise InputError(msg)


def _check_npy(output: Path) -> None:
    if output.suffix != ".npy":
        msg = f"output must end in .npy, which operator files name, got {output}"
        raise InputError(msg)
