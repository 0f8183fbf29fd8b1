"""TrainConfig: everything that decides what a training run computes, as one validated YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ValidationError,
    model_validator,
)

from partunroll.errors import InputError
from partunroll.noise import MAX_PHOTONS

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch takes
PatchShape = Count | tuple[Count, ...]
LARGEST_STEP_SIZE = 2.0  # of a gradient step that is stable for every spectrum in [0, 1]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, values: object) -> object:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and field.annotation is not bool:
                msg = f"{name} must not be {value}"
                raise ValueError(msg)
        return values


class PriorConfig(_Section):
    """The DRUNet; the widths and blocks are small enough for two CPU cores (our choice)."""

    dim: Literal[2, 3] | None = None  # None: as many axes as the volumes have
    channels: Literal[1, 2] | None = None  # None: 2 (real and imaginary part) of complex volumes
    widths: tuple[Count, Count, Count, Count] = (8, 16, 32, 64)
    blocks: int = Field(1, ge=1)
    residual: bool = True  # D(x) = x + DRUNet(x): near identity before training (our choice)
    noise_level: float = Field(0.05, ge=0)  # the fixed noise-level input


class UnrolledConfig(_Section):
    """Unrolled proximal gradient with tied weights."""

    kind: Literal["unrolled"] = "unrolled"
    iterations: int = Field(4, ge=1)
    # in units where the norm of A*A is 1; small ones move little where its eigenvalues are small
    initial_step_size: float = Field(1.8, gt=0, lt=1e4)  # below 2 for gradient steps
    # 0: gradient steps; more: proximal steps (remark 4.1), solved by as many applications of B
    cg_iterations: int = Field(0, ge=0)
    prior: PriorConfig = PriorConfig()

    @model_validator(mode="after")
    def _stable(self) -> UnrolledConfig:
        if not self.cg_iterations and self.initial_step_size >= LARGEST_STEP_SIZE:
            msg = (
                f"initial_step_size must be below {LARGEST_STEP_SIZE:g} for gradient steps, got "
                f"{self.initial_step_size:g}"
            )
            raise ValueError(msg)
        return self


class PostProcessingConfig(_Section):
    """The prior alone."""

    kind: Literal["post_processing"] = "post_processing"
    prior: PriorConfig = PriorConfig()


def _with_kind(network: object) -> object:
    return {"kind": "unrolled", **network} if isinstance(network, Mapping) else network


NetworkConfig = Annotated[
    UnrolledConfig | PostProcessingConfig, Discriminator("kind"), BeforeValidator(_with_kind)
]


class ValidationConfig(_Section):
    """Reconstruction of whole validation volumes during training."""

    every: int = Field(500, ge=1)  # steps; the last step is always validated
    stages: Literal[1, 2] = 1
    patch_shape: PatchShape | None = None  # None: as in training
    overlap: int | None = Field(None, ge=0)  # voxels; None: a quarter of the shortest patch axis


class MadeObjectsConfig(_Section):
    """Objects made for training when no data are given; 1 % noise unless one is set."""

    train: int = Field(16, ge=1)
    validation: int = Field(2, ge=1)
    seed: Seed = 0
    photons: float | None = Field(None, gt=0, le=MAX_PHOTONS)  # per ray without an object
    relative_noise: float | None = Field(None, ge=0)  # of the measurements' root mean square

    @model_validator(mode="after")
    def _one_noise(self) -> MadeObjectsConfig:
        if self.photons is not None and self.relative_noise is not None:
            msg = "photons and relative_noise must not both be set"
            raise ValueError(msg)
        return self


class TrainConfig(_Section):
    """A training run; every key has a default that suits two CPU cores."""

    network: NetworkConfig = UnrolledConfig()
    patch_shape: PatchShape = 32  # one number: a cube, cut where the volume is thinner
    batch: int = Field(2, ge=1)
    steps: int = Field(2000, ge=1)  # length of the cosine schedule
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(20, ge=0)  # the learning rate rises linearly over them
    # norm of all gradients; None: no clipping. Usual norms are 1e-3 … 5e-3 for objects of unit
    # range; without it a few patches undo the learning (learning rate 2e-3, 900 steps of
    # post-processing: 26.4 dB, with it 29.5)
    gradient_clip: float | None = Field(3e-3, gt=0)
    normal: Literal["factors", "exact"] = "factors"
    flips: bool = False
    seed: Seed = 0
    validation: ValidationConfig = ValidationConfig()
    made_objects: MadeObjectsConfig = MadeObjectsConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_workers: int = Field(0, ge=0)
    cache: bool = True  # keep the training arrays in memory where they are small
    tensorboard: bool = False  # also log for TensorBoard, which an extra installs

    def resolved(self, grid_shape: tuple[int, ...], *, is_complex: bool = False) -> TrainConfig:
        """Return the config with everything that depends on the volumes filled in.

        Raises
        ------
        InputError
            A patch shape has not as many axes as the volumes, or is larger, or the channels of
            the prior are not those of the volumes.
        """
        patch_shape = _patch_shape("patch_shape", self.patch_shape, grid_shape)
        wanted = self.validation.patch_shape or patch_shape
        tile_shape = _patch_shape("validation.patch_shape", wanted, grid_shape)
        overlap = self.validation.overlap
        overlap = min(tile_shape) // 4 if overlap is None else overlap
        if overlap >= min(tile_shape):
            msg = f"validation.overlap must be below the patch's {min(tile_shape)}, got {overlap}"
            raise InputError(msg)
        prior = self.network.prior
        dim = prior.dim or len(grid_shape)
        if dim > len(grid_shape):
            msg = f"network.prior.dim must be 2 for volumes of shape {grid_shape}, got {dim}"
            raise InputError(msg)
        channels = 2 if is_complex else 1
        if prior.channels not in (None, channels):
            kind = "complex" if is_complex else "real"
            msg = f"network.prior.channels must be {channels} for {kind} volumes, "
            raise InputError(msg + f"got {prior.channels}")
        prior = prior.model_copy(update={"dim": dim, "channels": channels})
        validation = {"patch_shape": tile_shape, "overlap": overlap}
        return self.model_copy(
            update={
                "patch_shape": patch_shape,
                "network": self.network.model_copy(update={"prior": prior}),
                "validation": self.validation.model_copy(update=validation),
            }
        )


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the configuration of a YAML file, or the defaults.

    Parameters
    ----------
    path
        YAML file; None for the defaults.
    overrides
        Values that replace those of the file, by dotted key (``"network.iterations": 2``).

    Raises
    ------
    InputError
        The file is missing or no YAML mapping, or values are invalid; all problems in one line.
    """
    values = {} if path is None else _read_yaml(path)
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    source = "config" if path is None else f"config {path}"
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        msg = f"{source} must be valid, got {describe_problems(error)}"
        raise InputError(msg) from error


def describe_problems(error: ValidationError) -> str:
    """Return every problem of a validation in one line: key, requirement, value."""
    problems = []
    for problem in error.errors():
        kinds = {"unrolled", "post_processing"}  # pydantic puts the union's tag into the place
        place = ".".join(str(part) for part in problem["loc"] if part not in kinds)
        problems.append(f"{place or 'config'}: {problem['msg']} (got {problem['input']!r})")
    return "; ".join(problems)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        msg = f"config {path} must be a readable YAML file, got {reason}"
        raise InputError(msg) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"config {path} must hold keys and values, got {type(values).__name__}"
        raise InputError(msg)
    return values


def _set(values: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            msg = f"{key} must name a value inside {section}, got {section}: {inner!r}"
            raise InputError(msg)
        values = inner
    values[last] = value


def _patch_shape(
    name: str, patch_shape: int | tuple[int, ...], grid_shape: tuple[int, ...]
) -> tuple[int, ...]:
    if isinstance(patch_shape, int):  # a cube, cut where a volume is thinner
        return tuple(min(patch_shape, n) for n in grid_shape)
    fits = len(patch_shape) == len(grid_shape)
    if not fits or any(p > n for p, n in zip(patch_shape, grid_shape, strict=True)):
        msg = f"{name} must fit into the volumes {grid_shape}, got {patch_shape}"
        raise InputError(msg)
    return patch_shape
