"""Spec of kind `inpainting`: a mask from a file, or drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from normalfit.grid import Grid
from normalfit.specs.array_file import finite_real
from normalfit.specs.operator_config import Arrays, Attachments, OperatorConfig, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import AxisLengths, FileName, Fraction, GridShape, Seed

if TYPE_CHECKING:
    from normalfit.operators.inpainting import Inpainting


def _mask(array: np.ndarray) -> np.ndarray:
    """Return weights as float64, or as bool where they are all 0 or 1."""
    weights = finite_real(array)
    if not weights.any():
        msg = "must keep a sample, all are 0"
        raise ValueError(msg)
    return weights.astype(bool) if np.isin(weights, (0, 1)).all() else weights


class InpaintingSpec(OperatorConfig):
    """Keys of a mask: `mask_file`, or `kept_fraction` with `seed`."""

    file_keys: ClassVar = {"mask_file": _mask}

    kind: Literal["inpainting"]
    volume_shape: GridShape
    voxel_mm: AxisLengths | None = None
    mask_file: FileName | None = None
    kept_fraction: Fraction | None = None
    seed: Seed | None = None

    @field_validator("kept_fraction")
    @classmethod
    def _one_mask(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "mask_file")

    @field_validator("seed")
    @classmethod
    def _default_seed(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "mask_file", default=0)

    @property
    def grid(self) -> Grid:
        return Grid(self.volume_shape, self.voxel_mm)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        mask = arrays.get("mask_file")
        if mask is not None and mask.shape != self.volume_shape:
            requirement = f"must hold a mask of the shape {self.volume_shape}"
            yield problem("mask_file", requirement, mask.shape)

    def build(self, attachments: Attachments) -> Inpainting:
        import torch

        from normalfit.operators.inpainting import Inpainting

        arrays = attachments.arrays
        mask = arrays["mask_file"] if "mask_file" in arrays else self._drawn()
        return Inpainting(self.grid, torch.tensor(mask))

    def _drawn(self) -> np.ndarray:
        """Return a mask that keeps each sample with probability `kept_fraction`.

        It compares the raw 64-bit stream, which numpy keeps between versions (NEP 19), unlike
        the streams of its distributions: the same seed is the same operator for ever.
        """
        raw = np.random.PCG64(self.seed).random_raw(math.prod(self.volume_shape))
        uniform = (raw >> np.uint64(11)) * 2.0**-53
        return (uniform < (self.kept_fraction or 0)).reshape(self.volume_shape)
