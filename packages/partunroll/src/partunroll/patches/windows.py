"""BlendWindows: one window per overlapping patch, summing to one.  Blend: the weighted sum."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal, get_args

import torch

from partunroll.errors import InputError
from partunroll.patches.tiling import axis_offsets, axis_strides, tile

if TYPE_CHECKING:
    from normalfit.grid import Patch

BlendKind = Literal["hann", "gaussian", "crop"]
GAUSSIAN_STD = 1 / 8  # of the patch length, as nnU-Net's


class BlendWindows:
    """The patches of `tile` and their windows, which sum to one on every voxel.

    A window is a product of one profile per axis, symmetric about the patch's centre (also for
    even lengths). As the patches form a Cartesian grid, it is enough that the profiles of each
    axis sum to one; they are divided by their sum, so the last patch may overlap by more than
    the others. Only the profiles are kept in memory. The kinds are

    - ``hann``: sin² ramps over the overlap, so a Hann window where neighbours share half; flat
      towards a border of the grid, where no neighbour could take over,
    - ``gaussian``: a Gaussian about the centre, with a standard deviation of `GAUSSIAN_STD`,
    - ``crop``: one on the voxels that are nearer to this patch's centre than to a neighbour's,
      else zero: every voxel is out of exactly one patch.

    Parameters
    ----------
    shape, patch_shape, stride
        As for `tile`.
    kind
        Of the profiles.

    Raises
    ------
    InputError
        As for `tile`, or the kind is unknown.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        patch_shape: tuple[int, ...],
        stride: tuple[int, ...] | int,
        kind: BlendKind = "hann",
    ) -> None:
        if kind not in get_args(BlendKind):
            msg = f"blend must be one of {', '.join(get_args(BlendKind))}, got {kind!r}"
            raise InputError(msg)
        self.patches = tile(shape, patch_shape, stride)
        self.shape = tuple(shape)
        self.kind = kind
        strides = axis_strides(patch_shape, stride)
        profiles = _PROFILES[kind]
        self._profiles = tuple(
            _normalised(profiles(n, p, d), n)
            for n, p, d in zip(shape, patch_shape, strides, strict=True)
        )

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


def _normalised(raw: dict[int, torch.Tensor], length: int) -> dict[int, torch.Tensor]:
    """Return the profiles by offset, divided by their sum: they sum to one on every voxel."""
    total = torch.zeros(length, dtype=torch.float64)
    for o, profile in raw.items():
        total[o : o + len(profile)] += profile
    return {o: profile / total[o : o + len(profile)] for o, profile in raw.items()}


def _hann(length: int, patch_length: int, stride: int) -> dict[int, torch.Tensor]:
    offsets = axis_offsets(length, patch_length, stride)
    return {o: _hann_profile(patch_length, stride, o, length) for o in offsets}


def _gaussian(length: int, patch_length: int, stride: int) -> dict[int, torch.Tensor]:
    middles = torch.arange(patch_length, dtype=torch.float64) + 0.5 * (1 - patch_length)
    profile = torch.exp(-0.5 * (middles / (GAUSSIAN_STD * patch_length)) ** 2)
    return dict.fromkeys(axis_offsets(length, patch_length, stride), profile)


def _crop(length: int, patch_length: int, stride: int) -> dict[int, torch.Tensor]:
    """Return ones between the middles of the overlaps with the neighbours, else zeros."""
    offsets = axis_offsets(length, patch_length, stride)
    cuts = [(a + b + patch_length) // 2 for a, b in itertools.pairwise(offsets)]
    profiles = {}
    for o, first, end in zip(offsets, [0, *cuts], [*cuts, length], strict=True):
        profiles[o] = torch.zeros(patch_length, dtype=torch.float64)
        profiles[o][first - o : end - o] = 1
    return profiles


def _hann_profile(patch_length: int, stride: int, offset: int, length: int) -> torch.Tensor:
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


_PROFILES = {"hann": _hann, "gaussian": _gaussian, "crop": _crop}
