"""Coil maps from the calibration region of measured k-space, directly or by ESPIRiT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from normalfit.errors import BackendError, InputError
from normalfit.mri.centred_fft import centred_ifft

if TYPE_CHECKING:
    from collections.abc import Sequence

Method = Literal["calibration", "espirit"]

_KERNEL_WIDTH, _CROP = 6, 0.8  # sigpy's width; its crop of 0.95 cuts holes into dark regions
_FLOOR = 1e-3  # of the largest root of the sum of squares: below it nothing is known of the coils


def estimate_coil_maps(
    kspace: torch.Tensor,
    calibration: int,
    *,
    method: Method = "calibration",
    axes: Sequence[int] | None = None,
) -> torch.Tensor:
    """Estimate coil maps from the centre of k-space; beside the two, a few coils are held.

    Parameters
    ----------
    kspace
        Centred k-space, complex ``(coils, *shape)``, whose centre is fully sampled. It may be
        hybrid: then `axes` tells which are in k-space.
    calibration
        Side of the centre, in points of each of those axes.
    method
        'calibration' (images of the centre alone, divided by the root of their sum of squares,
        as in the paper) or 'espirit' (sigpy's; slice by slice along an axis that is not in
        k-space, of which there may be one).
    axes
        Spatial axes that are in k-space, counted as in ``shape``; None: all.

    Returns
    -------
    torch.Tensor
        complex64 ``(coils, *shape)``, of root-sum-of-squares one, or zero where there is no
        signal.

    Raises
    ------
    InputError
        An argument is out of range, or the centre holds no signal.
    BackendError
        ESPIRiT is asked for and sigpy is not installed.
    """
    num_axes = kspace.ndim - 1
    chosen = tuple(range(num_axes)) if axes is None else tuple(axes)
    sides = [kspace.shape[1 + axis] for axis in chosen]
    if method not in get_args(Method):
        msg = f"method must be one of {', '.join(get_args(Method))}, got {method!r}"
        raise InputError(msg)
    if not kspace.is_complex() or num_axes not in (2, 3):
        msg = (
            "kspace must be complex with the axes (coils, y, x) or (coils, z, y, x), "
            f"got {kspace.dtype} of shape {tuple(kspace.shape)}"
        )
        raise InputError(msg)
    if not 2 <= calibration <= min(sides):
        msg = f"calibration must be between 2 and {min(sides)}, got {calibration}"
        raise InputError(msg)
    kspace = kspace.to(torch.complex64)
    if method == "espirit":
        return _espirit(kspace, calibration, chosen)
    images = torch.empty_like(kspace)
    for coil, values in zip(images, kspace, strict=True):  # so that one coil is held beside them
        coil[...] = centred_ifft(_tapered_centre(values, calibration, chosen), list(chosen))
    return _normalise(images)


def _normalise(images: torch.Tensor) -> torch.Tensor:
    """Divide coil images ``(coils, *shape)``, in their place, by the root of their sum of squares.

    Raises
    ------
    InputError
        The images are zero.
    """
    root = torch.empty_like(images[0], dtype=torch.float32)
    for i in range(len(root)):
        root[i] = images[:, i].abs().square().sum(0).sqrt()
    largest = float(root.max())
    if not largest > 0:
        msg = "kspace must hold a signal in its centre, got zeros"
        raise InputError(msg)
    known, root = root > _FLOOR * largest, root.clamp_min(_FLOOR * largest)
    for coil in images:
        coil[...] = torch.where(known, coil / root, 0)
    return images


def _tapered_centre(kspace: torch.Tensor, side: int, axes: tuple[int, ...]) -> torch.Tensor:
    """Return a coil's k-space times a Hann window over its centre, against ringing."""
    result = kspace
    for axis in axes:
        n = kspace.shape[axis]
        window = torch.zeros(n, device=kspace.device)
        first = n // 2 - side // 2
        inner = torch.hann_window(side + 2, periodic=False, device=kspace.device)[1:-1]
        window[first : first + side] = inner
        result = result * window.reshape(-1, *[1] * (kspace.ndim - 1 - axis))
    return result


def _espirit(kspace: torch.Tensor, side: int, axes: tuple[int, ...]) -> torch.Tensor:
    try:
        # mri-nufft's cartesian_espirit (1.5.1) raises unless its maps are decimated
        from sigpy.mri.app import EspiritCalib
    except ImportError as error:
        msg = "espirit must have sigpy, got none; install normalfit[mri]"
        raise BackendError(msg) from error

    num_axes = kspace.ndim - 1
    outside = [axis for axis in range(num_axes) if axis not in axes]
    if len(outside) > 1:
        msg = f"axes must leave out at most one axis for espirit, got {axes} of {num_axes}"
        raise InputError(msg)
    values = kspace.cpu().numpy()
    slices = np.moveaxis(values, 1 + outside[0], 0) if outside else values[None]
    with np.errstate(all="ignore"):  # its power iteration divides by zero where nothing is seen
        maps = np.stack([_calibrated(EspiritCalib, part, side) for part in slices])
    return _found(np.moveaxis(maps, 0, 1 + outside[0]) if outside else maps[0], kspace)


def _calibrated(calib: Any, kspace: np.ndarray, side: int) -> np.ndarray:  # noqa: ANN401
    if not kspace.any():
        return kspace
    width = min(_KERNEL_WIDTH, side // 2)
    app = calib(kspace, calib_width=side, kernel_width=width, crop=_CROP, show_pbar=False)
    return np.asarray(app.run())


def _found(maps: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    finite = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0).astype(np.complex64)
    return torch.from_numpy(np.ascontiguousarray(finite)).to(like.device)
