"""Spec of kind `noncartesian_mri`: a trajectory from a file or a common one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from normalfit.specs.array_file import finite_real
from normalfit.specs.coils import CoilKeys, finite_complex
from normalfit.specs.operator_config import Arrays, Attachments, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import Count, FileName

if TYPE_CHECKING:
    from normalfit.operators.noncartesian_mri import NonCartesianMRI

_MAX_REACH = 0.5 + 1e-6
_Shots = Annotated[Count, Field(le=2**24)]


def _trajectory(array: np.ndarray) -> np.ndarray:
    """Return ``(samples, axes)``; shots ``(shots, samples, axes)`` are put in a row."""
    values = finite_real(array)
    if values.ndim not in (2, 3) or values.shape[-1] not in (2, 3):
        msg = f"must have the shape (samples, axes) or (shots, samples, axes), not {values.shape}"
        raise ValueError(msg)
    reach = float(np.abs(values).max())
    if reach > _MAX_REACH:
        msg = f"must lie within -0.5 … 0.5 cycles per voxel, it reaches {reach:g}"
        raise ValueError(msg)
    return values.reshape(-1, values.shape[-1])


def _density(array: np.ndarray) -> np.ndarray:
    values = finite_real(array).ravel()
    if values.min() < 0 or not values.any():
        msg = "must hold weights of zero or more, not all zero"
        raise ValueError(msg)
    return values


class NonCartesianMRISpec(CoilKeys):
    """Keys of non-Cartesian MRI: coils, a trajectory and its density compensation."""

    file_keys: ClassVar = {
        "coil_maps_file": finite_complex,
        "trajectory_file": _trajectory,
        "density_file": _density,
    }
    generated_keys: ClassVar = ("trajectory", "density")

    kind: Literal["noncartesian_mri"]
    trajectory_file: FileName | None = None
    trajectory: (
        Literal["radial", "spiral", "stack-of-stars", "stack-of-spirals", "kooshball"] | None
    ) = None
    num_shots: _Shots | None = None
    num_samples: _Shots | None = None
    density_file: FileName | None = None
    density: Literal["none", "pipe"] | None = None

    @field_validator("trajectory", "num_shots", "num_samples")
    @classmethod
    def _one_trajectory(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "trajectory_file")

    @field_validator("density")
    @classmethod
    def _one_density(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "density_file", default="none")

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        yield from super().array_problems(arrays)
        samples = arrays.get("trajectory_file")
        if samples is not None and samples.shape[1] != len(self.volume_shape):
            requirement = f"must have {len(self.volume_shape)} axes, as volume_shape"
            yield problem("trajectory_file", requirement, samples.shape)
        density = arrays.get("density_file")
        if density is not None and samples is not None and len(density) != len(samples):
            requirement = f"must hold one weight per sample ({len(samples)})"
            yield problem("density_file", requirement, len(density))

    def generated(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Make the trajectory and the density that are not from a file."""
        from normalfit.mri.trajectories import density_of, trajectory

        made: dict[str, np.ndarray] = {}
        samples = arrays.get("trajectory_file", arrays.get("trajectory"))
        if samples is None:
            samples = trajectory(
                self.trajectory or "radial",
                self.volume_shape,
                self.num_shots or 1,
                self.num_samples or 1,
            )
            made["trajectory"] = samples
        if "density_file" not in arrays:
            made["density"] = density_of(samples, self.density or "none", self.volume_shape)
        return made

    def build(self, attachments: Attachments) -> NonCartesianMRI:
        from normalfit.operators.noncartesian_mri import NonCartesianMRI

        arrays = attachments.arrays
        samples = arrays["trajectory_file" if "trajectory_file" in arrays else "trajectory"]
        density = arrays["density_file" if "density_file" in arrays else "density"]
        return NonCartesianMRI(self.grid, self.coil_maps(arrays), samples, density)
