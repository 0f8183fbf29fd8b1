"""BlendWindows: one window per overlapping patch, summing to one.  Blend: the weighted sum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from partunroll.tiling import axis_offsets, axis_strides, tile

if TYPE_CHECKING:
    from normalfit.grid import Patch


class BlendWindows:
    """The patches of `tile` and their windows, which sum to one on every voxel.

    A window is a product of one profile per axis: sin² ramps over the overlap, symmetric about
    the patch's centre (also for even lengths), flat towards a border of the grid, where no
    neighbour could take over. As the patches form a Cartesian grid, it is enough that the
    profiles of each axis sum to one; they are divided by their sum, so the last patch may
    overlap by more than the others. Only the profiles are kept in memory.

    Parameters
    ----------
    shape, patch_shape, stride
        As for `tile`.

    Raises
    ------
    InputError
        As for `tile`.
    """

    def __init__(
        self, shape: tuple[int, ...], patch_shape: tuple[int, ...], stride: tuple[int, ...] | int
    ) -> None:
        self.patches = tile(shape, patch_shape, stride)
        self.shape = tuple(shape)
        strides = axis_strides(patch_shape, stride)
        self._profiles = tuple(map(_axis_profiles, shape, patch_shape, strides))

    def window(
        self,
        patch: Patch,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Return the window of one of `patches`, shape ``(*patch.shape)``."""
        profiles = [axis[o] for axis, o in zip(self._profiles, patch.offset, strict=True)]
        window = torch.ones((), dtype=torch.float64)
        for profile in profiles:
            window = window[..., None] * profile
        return window.to(device=device, dtype=dtype)


class Blend:
    """The sum of windowed patches: ``Σ_i P_iᵀ (w_i ⊙ x_i)``.

    Parameters
    ----------
    windows
        The patches and their windows.
    batch
        Leading axes of the volume.
    device, dtype
        Of the volume that is accumulated.
    """

    def __init__(
        self,
        windows: BlendWindows,
        batch: tuple[int, ...] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.windows = windows
        self.volume = torch.zeros((*batch, *windows.shape), device=device, dtype=dtype)

    def add(self, patch: Patch, x: torch.Tensor) -> None:
        """Add one patch of shape ``(*batch, *patch.shape)``; each patch belongs in once."""
        window = self.windows.window(patch, self.volume.device, self.volume.dtype)
        patch.extract(self.volume).add_(window * x.to(self.volume))


def _axis_profiles(length: int, patch_length: int, stride: int) -> dict[int, torch.Tensor]:
    """Return the profile of each offset along one axis; they sum to one on every voxel."""
    offsets = axis_offsets(length, patch_length, stride)
    raw = {o: _profile(patch_length, stride, o, length) for o in offsets}
    total = torch.zeros(length, dtype=torch.float64)
    for o, profile in raw.items():
        total[o : o + patch_length] += profile
    return {o: profile / total[o : o + patch_length] for o, profile in raw.items()}


def _profile(patch_length: int, stride: int, offset: int, length: int) -> torch.Tensor:
    """Return sin² ramps over the overlap, none at a border of the grid."""
    overlap = patch_length - stride
    # j + ½ is the middle of voxel j, so both ramps mirror each other for any length
    middles = torch.arange(patch_length, dtype=torch.float64) + 0.5
    profile = torch.ones(patch_length, dtype=torch.float64)
    if overlap == 0:
        return profile
    ramp = torch.sin(0.5 * math.pi * (middles / overlap).clamp(max=1)) ** 2
    if offset > 0:
        profile = profile * ramp
    if offset + patch_length < length:
        profile = profile * ramp.flip(0)
    return profile
