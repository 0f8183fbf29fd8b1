"""Volumes that an operator is to see: made ones, and those of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.ellipsoids import ellipsoids
from partunroll.volumes.array_file import read_array
from partunroll.volumes.resampling import resample, scale_to_unit
from partunroll.volumes.volume_file import VOLUME_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from normalfit.grid import Grid


def made_objects(shape: tuple[int, ...]) -> torch.Tensor:
    """Return four volumes of ellipsoids."""
    return torch.stack([ellipsoids(shape, seed=seed) for seed in range(4)])


def read_volumes(paths: list[Path], grid: Grid) -> torch.Tensor:
    """Return volumes of values from 0 to 1, resampled to the grid."""
    volumes = []
    for path in paths:
        stored = read_array(path, VOLUME_KEYS)
        sides = stored.attributes.get("voxel_mm")
        voxel_mm = None if sides is None else tuple(float(side) for side in sides)
        volume = scale_to_unit(resample(stored.values, voxel_mm, grid))
        volumes.append(torch.from_numpy(volume))
    return torch.stack(volumes)
