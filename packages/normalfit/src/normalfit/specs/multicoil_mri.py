"""Spec of kind `multicoil_mri`: Cartesian, a mask from a file or drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from normalfit.specs.array_file import finite_real
from normalfit.specs.coils import CoilKeys, finite_complex
from normalfit.specs.operator_config import Arrays, Attachments, either
from normalfit.specs.problems import Problem, problem
from normalfit.specs.quantities import FileName, Finite, Seed, number

if TYPE_CHECKING:
    from normalfit.operators.multicoil_mri import MulticoilMRI

_DEFAULT_ACCELERATION = 4.0


def _mask(array: np.ndarray) -> np.ndarray:
    """Return weights as float64, or as bool where they are all 0 or 1."""
    weights = finite_real(array)
    if not weights.any():
        msg = "must measure something, all are 0"
        raise ValueError(msg)
    return weights.astype(bool) if np.isin(weights, (0, 1)).all() else weights


class MulticoilMRISpec(CoilKeys):
    """Keys of Cartesian MRI: coils, and `mask_file` or `mask` with its parameters."""

    file_keys: ClassVar = {"coil_maps_file": finite_complex, "mask_file": _mask}
    generated_keys: ClassVar = ("mask",)

    kind: Literal["multicoil_mri"]
    readout_axis: Annotated[int, BeforeValidator(number), Field(ge=0, le=2)] | None = None
    hybrid: bool = False
    mask_file: FileName | None = None
    mask: Literal["full", "poisson-disc", "gaussian", "random", "uniform"] | None = None
    acceleration: Annotated[Finite, Field(ge=1, le=1e6)] | None = None
    calibration: Annotated[int, BeforeValidator(number), Field(ge=0, le=2**20)] | None = None
    seed: Seed | None = None

    @field_validator("readout_axis")
    @classmethod
    def _readout(cls, value: int | None, info: ValidationInfo) -> int | None:
        num_axes = len(info.data.get("volume_shape", (0, 0, 0)))
        if value is None:
            return 0 if num_axes == 3 else None
        if value >= num_axes:
            msg = f"must be an axis of volume_shape, 0 … {num_axes - 1}"
            raise ValueError(msg)
        return value

    @field_validator("hybrid")
    @classmethod
    def _hybrid(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("readout_axis", 0) is None:
            msg = "must have a readout_axis, which is in image space already"
            raise ValueError(msg)
        return value

    @field_validator("mask")
    @classmethod
    def _one_mask(cls, value: object, info: ValidationInfo) -> object:
        return either(value, info, "mask_file")

    @field_validator("acceleration", "calibration", "seed")
    @classmethod
    def _of_the_drawn_mask(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        default = {"acceleration": _DEFAULT_ACCELERATION, "calibration": 0, "seed": 0}
        if info.data.get("mask") == "full":
            if value not in (None, 1 if info.field_name == "acceleration" else 0):
                msg = "must be left out of a full mask"
                raise ValueError(msg)
            return None
        if "mask" not in info.data:
            return value
        return either(value, info, "mask_file", default=default[str(info.field_name)])

    @property
    def phase_axes(self) -> tuple[int, ...]:
        """Axes along which the mask changes."""
        return tuple(a for a in range(len(self.volume_shape)) if a != self.readout_axis)

    def array_problems(self, arrays: Arrays) -> Iterator[Problem]:
        yield from super().array_problems(arrays)
        mask = arrays.get("mask_file")
        if mask is None:
            return
        shape = self._placed(mask).shape
        fits = len(shape) == len(self.volume_shape) and all(
            m in (1, n) for m, n in zip(shape, self.volume_shape, strict=True)
        )
        if not fits or (self.hybrid and shape[self.readout_axis or 0] != 1):
            shapes = [self.volume_shape] if not self.hybrid else []
            if self.readout_axis is not None:
                shapes.append(tuple(self.volume_shape[a] for a in self.phase_axes))
            requirement = f"must hold a mask of the shape {' or '.join(map(str, shapes))}"
            yield problem("mask_file", requirement, mask.shape)

    def generated(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Draw the mask, if it is not from a file."""
        from normalfit.mri.sampling_mask import sampling_mask

        if "mask_file" in arrays or self.mask is None:
            return {}
        shape = tuple(self.volume_shape[axis] for axis in self.phase_axes)
        if self.mask == "full":
            return {"mask": np.ones(shape, dtype=bool)}
        drawn = sampling_mask(
            shape,
            self.mask,
            self.acceleration or _DEFAULT_ACCELERATION,
            calibration=self.calibration or 0,
            seed=self.seed or 0,
        )
        return {"mask": drawn}

    def build(self, attachments: Attachments) -> MulticoilMRI:
        import torch

        from normalfit.operators.multicoil_mri import MulticoilMRI

        arrays = attachments.arrays
        mask = arrays["mask_file"] if "mask_file" in arrays else arrays["mask"]
        return MulticoilMRI(
            self.grid,
            self.coil_maps(arrays),
            torch.tensor(self._placed(mask)),
            hybrid_axis=self.readout_axis if self.hybrid else None,
        )

    def _placed(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask over the phase encodings with an axis of one for the readout."""
        if self.readout_axis is None or mask.ndim != len(self.volume_shape) - 1:
            return mask
        return np.expand_dims(mask, self.readout_axis)
