"""read_volume and read_measurements: finite arrays out of the containers of `array_file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from partunroll.errors import InputError
from partunroll.volumes.array_file import read_array

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOLUME_KEYS = ("volume", "reference", "reconstruction")
MEASUREMENT_KEYS = ("measurements", "projections", "sinogram", "kspace", "y")


@dataclass(frozen=True)
class MeasurementFile:
    """Measurements and what their container says about them.

    Attributes
    ----------
    values
        float32, or complex64 where the file is complex; axes as the operator's range.
    attributes
        Attributes of a Zarr array (those of a data store name the ``operator``, its
        ``fingerprint`` and the ``intensity_per_mm``); empty for other containers.
    """

    values: np.ndarray
    attributes: Mapping[str, Any]


def read_volume(
    path: Path | str, *, complex_allowed: bool = False
) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Read a volume ``(z, y, x)``, or an image ``(y, x)``, as float32 (or complex64).

    Parameters
    ----------
    path
        A container that `read_array` knows. Of several arrays the one called ``volume`` (or
        ``reference``, ``reconstruction``) is taken. Leading axes of length one before the
        last three are dropped; NIfTI's ``(x, y, z)`` is turned round.
    complex_allowed
        Take complex volumes too, as complex64.

    Returns
    -------
    volume
        float32 (complex64 where the file is complex), finite.
    voxel_mm
        Voxel sides in the order of the axes, or None where the file does not say.

    Raises
    ------
    InputError
        The file cannot be read, or its array is no real, finite volume.
    """
    stored = read_array(path, VOLUME_KEYS)
    values = stored.values
    while values.ndim > 3 and values.shape[0] == 1:  # NIfTI's time axis, a channel
        values = values[0]
    kinds = "biufc" if complex_allowed else "biuf"
    if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in kinds:
        msg = (
            f"volume must be a{'' if complex_allowed else ' real'} array of 2 or 3 axes, "
            f"got {values.dtype} of shape {stored.values.shape} in {path}"
        )
        raise InputError(msg)
    volume = _single(values)
    check_finite("volume", volume, path)
    return volume, _voxel_mm(stored.attributes.get("voxel_mm"), volume.ndim, path)


def read_measurements(path: Path | str) -> MeasurementFile:
    """Read measurements, in the axes of the operator's range, as float32 or complex64.

    Parameters
    ----------
    path
        A container that `read_array` knows; ``data.zarr/samples/ID/measurements`` is one. Of
        several arrays the one called ``measurements``, ``projections``, ``sinogram``,
        ``kspace`` or ``y`` is taken.

    Raises
    ------
    InputError
        The file cannot be read, or its array holds no numbers, or NaN or infinite ones.
    """
    stored = read_array(path, MEASUREMENT_KEYS)
    values = stored.values
    if values.size == 0 or values.dtype.kind not in "biufc":
        msg = f"measurements must be numbers, got {values.dtype} of shape {values.shape} in {path}"
        raise InputError(msg)
    values = _single(values)
    check_finite("measurements", values, path)
    return MeasurementFile(values, stored.attributes)


def of_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array in the operator's shape, from which only axes of length one may differ.

    Raises
    ------
    InputError
        It has another shape.
    """
    if [n for n in values.shape if n > 1] != [n for n in shape if n > 1]:
        msg = f"{name} must have the operator's shape {shape}, got {values.shape}"
        raise InputError(msg)
    return values.reshape(shape)


def check_finite(name: str, values: np.ndarray, place: object) -> None:
    """Raise InputError if an array holds NaN or infinite values, saying how many and where."""
    finite = np.isfinite(values)
    if finite.all():
        return
    count = int(values.size - np.count_nonzero(finite))
    first = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), values.shape))
    msg = (
        f"{name} must be finite, got {count} NaN or infinite of {values.size} values in {place}, "
        f"the first at index {first}; replace them before"
    )
    raise InputError(msg)


def _single(values: np.ndarray) -> np.ndarray:
    dtype = np.complex64 if values.dtype.kind == "c" else np.float32
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused as that
        return np.ascontiguousarray(values, dtype=dtype)


def _voxel_mm(value: object, num_axes: int, path: Path | str) -> tuple[float, ...] | None:
    if value is None:
        return None
    sides = np.asarray(value, dtype=np.float64).reshape(-1)
    if sides.size == 1:
        sides = np.repeat(sides, num_axes)
    sides = sides[-num_axes:]
    if sides.size != num_axes or not np.all(np.isfinite(sides) & (sides > 0)):
        msg = f"voxel_mm must be {num_axes} positive lengths, got {sides.tolist()} in {path}"
        raise InputError(msg)
    return tuple(sides.tolist())
