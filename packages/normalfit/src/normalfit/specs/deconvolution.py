"""Spec of kind `deconvolution`: a kernel from a file, or a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from normalfit.grid import Grid
from normalfit.specs.array_file import finite_real
from normalfit.specs.operator_config import Arrays, Attachments, OperatorConfig, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import AxisLengths, FileName, Finite, GridShape, per_axis

if TYPE_CHECKING:
    import torch

    from normalfit.operators.deconvolution import Deconvolution

_RADIUS_STDS = 4  # a Gaussian is below 3.4e-4 of its peak there
StandardDeviation = Annotated[Finite, Field(gt=0, le=1e4)]
Boundaries = Annotated[tuple[Literal["periodic", "linear"], ...], BeforeValidator(per_axis)]


def _kernel(array: np.ndarray) -> np.ndarray:
    kernel = finite_real(array)  # `Deconvolution` takes complex ones, but fits are of real N
    if not kernel.any():
        msg = "must hold a kernel that is not 0 everywhere"
        raise ValueError(msg)
    return kernel


class DeconvolutionSpec(OperatorConfig):
    """Keys of a blur; the kernel comes from `kernel_file` or from `gaussian_std_voxels`."""

    file_keys: ClassVar = {"kernel_file": _kernel}

    kind: Literal["deconvolution"]
    volume_shape: GridShape
    voxel_mm: AxisLengths | None = None
    kernel_file: FileName | None = None
    gaussian_std_voxels: (
        Annotated[tuple[StandardDeviation, ...], BeforeValidator(per_axis)] | None
    ) = None
    boundary: Boundaries = "linear"  # type: ignore[assignment] # repeated per axis

    @field_validator("gaussian_std_voxels")
    @classmethod
    def _one_kernel(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "kernel_file")

    @property
    def grid(self) -> Grid:
        return Grid(self.volume_shape, self.voxel_mm)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        kernel = arrays.get("kernel_file")
        if kernel is not None and kernel.ndim != len(self.volume_shape):
            requirement = f"must hold a kernel of {len(self.volume_shape)} axes"
            yield problem("kernel_file", requirement, kernel.shape)

    def build(self, attachments: Attachments) -> Deconvolution:
        import torch

        from normalfit.operators.deconvolution import Deconvolution

        values = attachments.arrays.get("kernel_file")
        kernel = self._gaussian() if values is None else torch.tensor(values)
        return Deconvolution(self.grid, kernel, self.boundary)

    def _gaussian(self) -> torch.Tensor:
        """Return a Gaussian of sum one, cut where the grid has no more lags."""
        import torch

        from normalfit.operators.deconvolution import lags_on_axis

        axes = []
        for n, std, end in zip(
            self.volume_shape, self.gaussian_std_voxels or (), self.boundary, strict=True
        ):
            radius = math.ceil(_RADIUS_STDS * std)
            values = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
            axes.append(lags_on_axis(torch.tensor(values / values.sum()), 0, n, end))
        return reduce(lambda kernel, axis: kernel[..., None] * axis, axes)
