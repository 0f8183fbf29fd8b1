"""VolumeSource and MadeSource: objects to simulate, each put onto any operator's grid."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from partunroll.errors import InputError
from partunroll.objects.made_objects import made_object
from partunroll.volumes.array_file import KEY_MARK, check_readable
from partunroll.volumes.resampling import Mode, cylinder_mask, resample, scale_to_unit
from partunroll.volumes.volume_file import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from normalfit.grid import Grid
    from partunroll.store.data_store_header import Split

MAX_NAME = 150  # what is added to tell names apart fits into a store's limit of 200  # our choice
MASKS = (None, "cylinder")
FILE_ENDINGS = re.compile(r"(\.nii)?\.(npz|npy|nii|gz|tiff?|zarr|ya?ml)$", re.IGNORECASE)


class ObjectSource(Protocol):
    """Something to simulate."""

    @property
    def name(self) -> str:
        """A short name, allowed as the id of a sample."""

    @property
    def origin(self) -> str:
        """Where it comes from."""

    @property
    def split(self) -> Split:
        """What it is for."""

    def load(self) -> Callable[[Grid], np.ndarray]:
        """Return what puts it onto a grid, scaled to [0, 1]."""


@dataclass(frozen=True)
class VolumePlacement:
    """How volumes are put onto grids.

    Parameters
    ----------
    mode
        As for `resample`.
    mask
        'cylinder' keeps the grid's inscribed cylinder only, for volumes cut out of larger ones.
    value_range
        As for `scale_to_unit`.

    Raises
    ------
    InputError
        The mask is unknown.
    """

    mode: Mode = "fit"
    mask: Literal["cylinder"] | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            msg = f"mask must be one of {MASKS}, got {self.mask!r}"
            raise InputError(msg)

    def __call__(
        self, volume: np.ndarray, voxel_mm: tuple[float, ...] | None, grid: Grid
    ) -> np.ndarray:
        """Return a volume, already in [0, 1], on a grid; its middle slice on a grid of two axes."""
        if volume.ndim == 3 and grid.num_axes == 2:
            volume, voxel_mm = volume[len(volume) // 2], voxel_mm and voxel_mm[1:]
        placed = resample(volume, voxel_mm, grid, self.mode)
        return placed * cylinder_mask(grid) if self.mask == "cylinder" else placed


@dataclass(frozen=True)
class VolumeSource:
    """A volume in a file.

    Parameters
    ----------
    path
        Any that `read_volume` takes.
    split
        What it is for.
    placement
        How it is put onto grids.

    Raises
    ------
    InputError
        There is nothing to read; `load` raises it where the file is not a volume.
    """

    path: str
    split: Split
    placement: VolumePlacement

    def __post_init__(self) -> None:
        check_readable(self.path)

    @property
    def name(self) -> str:
        return safe_name(self.path)

    @property
    def origin(self) -> str:
        return self.path

    def load(self) -> Callable[[Grid], np.ndarray]:
        try:
            volume, voxel_mm = read_volume(self.path)
            scaled = scale_to_unit(volume, self.placement.value_range)
        except InputError as error:
            msg = f"{self.path}: {error}"
            raise InputError(msg) from error
        return lambda grid: self.placement(scaled, voxel_mm, grid)


@dataclass(frozen=True)
class MadeObjects:
    """A number of made objects to simulate.

    Parameters
    ----------
    count
        How many.
    seed
        Names the series; object i of a series is always the same.
    smallest
        As for `made_object`.

    Raises
    ------
    InputError
        There is none, or the seed or the smallest part is negative.
    """

    count: int
    seed: int = 0
    smallest: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0 or not 0 <= self.smallest < math.inf:
            msg = f"made objects must be at least 1, with seed and smallest >= 0, got {self}"
            raise InputError(msg)


@dataclass(frozen=True)
class MadeSource:
    """One made object of a series."""

    seed: int
    index: int
    split: Split
    smallest: float = 0.0

    @property
    def name(self) -> str:
        return f"made-{self.seed}-{self.index:04d}"

    @property
    def origin(self) -> str:
        return f"made:{self.seed}:{self.index}"

    def load(self) -> Callable[[Grid], np.ndarray]:
        return lambda grid: made_object(grid.shape, (self.seed, self.index), self.smallest)


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names in their order, those met before with a number added."""
    unique: list[str] = []
    for name in names:
        number, free = 1, name
        while free in unique:
            number += 1
            free = f"{name}-{number}"
        unique.append(free)
    return unique


def safe_name(path: Path | str) -> str:
    """Return the file's name without its ending, in letters that a data store's names may have."""
    text, _, key = str(path).partition(KEY_MARK)
    stem = FILE_ENDINGS.sub("", Path(text.rstrip("/*?")).name)
    name = f"{stem}-{key}" if key else stem
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return safe[:MAX_NAME].rstrip("-._") or "volume"
