"""CoilKeys: the coil maps of an MRI operator, from a file or simulated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from normalfit.grid import Grid
from normalfit.specs.operator_config import Arrays, OperatorConfig, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import AxisLengths, Count, FileName, GridShape, Positive

if TYPE_CHECKING:
    import torch


def finite_complex(array: np.ndarray) -> np.ndarray:
    """Return a copy as complex64.

    Raises
    ------
    ValueError
        The array holds no numbers, or some that are not finite.
    """
    if array.dtype.kind not in "biufc" or array.size == 0:
        msg = f"must hold numbers, not {array.dtype} of shape {array.shape}"
        raise ValueError(msg)
    numbers = np.array(array, np.complex64, order="C")
    if not np.isfinite(numbers).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        msg = f"must hold finite numbers, has {numbers[place]} at index {place}"
        raise ValueError(msg)
    if not numbers.any():
        msg = "must not be 0 everywhere"
        raise ValueError(msg)
    return numbers


class CoilKeys(OperatorConfig):
    """Grid and coil maps: `coil_maps_file`, or a birdcage of `num_coils`."""

    volume_shape: Annotated[GridShape, Field(min_length=2)]
    voxel_mm: AxisLengths | None = None
    coil_maps_file: FileName | None = None
    num_coils: Annotated[Count, Field(le=1024)] | None = None
    coil_radius: Positive | None = None

    @field_validator("num_coils")
    @classmethod
    def _one_set_of_maps(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "coil_maps_file")

    @field_validator("coil_radius")
    @classmethod
    def _radius(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "coil_maps_file", default=1.5)

    @property
    def grid(self) -> Grid:
        return Grid(self.volume_shape, self.voxel_mm)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        maps = arrays.get("coil_maps_file")
        if maps is not None and maps.shape[1:] != self.volume_shape:
            sides = ", ".join(map(str, self.volume_shape))
            requirement = f"must hold maps of the shape (coils, {sides})"
            yield problem("coil_maps_file", requirement, maps.shape)

    def coil_maps(self, arrays: Arrays) -> torch.Tensor:
        """Return the maps, complex64 ``(coils, *volume_shape)``."""
        import torch

        from normalfit.mri.birdcage import birdcage_maps

        if "coil_maps_file" in arrays:
            return torch.tensor(arrays["coil_maps_file"])
        return birdcage_maps(self.num_coils or 1, self.volume_shape, radius=self.coil_radius or 1.5)
