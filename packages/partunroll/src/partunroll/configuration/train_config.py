"""TrainConfig: everything that decides what a training run computes, as one validated YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, StrictBool, ValidationError, model_validator

from partunroll.configuration.config_problems import describe_problems
from partunroll.configuration.config_section import PatchShape, Section, Seed
from partunroll.configuration.losses import Loss
from partunroll.configuration.network_config import (
    DenoisingConfig,
    NetworkConfig,
    PostProcessingConfig,
    PriorConfig,
    UnrolledConfig,
)
from partunroll.configuration.precision import Precision
from partunroll.configuration.schedule_config import CosineSchedule, ScheduleConfig
from partunroll.errors import InputError
from partunroll.measurements.noise import MAX_PHOTONS
from partunroll.patches.patch_normal import PatchNormalKind, patch_normal_kind
from partunroll.patches.tiling import shortest_axis

__all__ = [
    "DenoisingConfig",
    "NetworkConfig",
    "PostProcessingConfig",
    "PriorConfig",
    "TrainConfig",
    "UnrolledConfig",
    "describe_problems",
    "load_config",
]


class ValidationConfig(Section):
    """Reconstruction of whole validation volumes during training."""

    every: int = Field(500, ge=1)  # steps; the last step is always validated
    stages: Literal[1, 2] = 1
    patch_shape: PatchShape | None = None  # None: as in training
    overlap: int | None = Field(None, ge=0)  # voxels; None: a quarter of the shortest patch axis
    patience: int | None = Field(None, ge=1)  # validations without a new best; None: no early stop


class SamplingConfig(Section):
    """Where patches are drawn: uniformly, or around voxels of the foreground."""

    foreground: float = Field(0.0, ge=0, le=1)  # share of patches around a foreground voxel
    threshold: float = Field(0.1, ge=0)  # foreground: magnitude of the reference above it


class CheckpointsConfig(Section):
    """What is kept of a run besides the best network."""

    every: int | None = Field(None, ge=1)  # steps, besides those that are validated
    keep_last: int = Field(3, ge=1)  # the newest ones


class MadeObjectsConfig(Section):
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


def _current_name(normal: object) -> object:
    return patch_normal_kind(normal) if isinstance(normal, str) else normal


class TrainConfig(Section):
    """A training run; every key has a default that suits two CPU cores."""

    network: NetworkConfig = UnrolledConfig()
    patch_shape: PatchShape = 32  # one number: a cube, cut where the volume is thinner
    batch: int = Field(2, ge=1)
    accumulation: int = Field(1, ge=1)  # batches per step, whose gradients are averaged
    steps: int = Field(2000, ge=1)  # length of the schedule
    loss: Loss = "mse"
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(20, ge=0)  # the learning rate rises linearly over them
    schedule: ScheduleConfig = CosineSchedule()
    # norm of all gradients; None: no clipping. Usual norms are 1e-3 … 5e-3 for objects of unit
    # range; without it a few patches undo the learning (learning rate 2e-3, 900 steps of
    # post-processing: 26.4 dB, with it 29.5)
    gradient_clip: float | None = Field(3e-3, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)  # decay of the averaged weights; None: no average
    normal: Annotated[PatchNormalKind, BeforeValidator(_current_name)] = "factors"
    flips: bool = False
    rotations: StrictBool | tuple[Annotated[int, Field(ge=0)], ...] = False  # or the axes to turn
    sampling: SamplingConfig = SamplingConfig()
    precision: Precision = "fp32"  # of the prior; the data step is always in float32
    checkpointing: bool = False  # activations of an iteration are computed again for its gradient
    compile: bool = False  # the prior, by torch.compile
    seed: Seed = 0
    validation: ValidationConfig = ValidationConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    made_objects: MadeObjectsConfig = MadeObjectsConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_workers: int = Field(0, ge=0)
    cache: bool = True  # keep the training arrays in memory where they are small
    tensorboard: bool = False  # also log for TensorBoard, which an extra installs

    @model_validator(mode="after")
    def _no_data_step_of_a_denoiser(self) -> TrainConfig:
        steps = self.normal != "factors" or self.validation.stages != 1
        if steps and isinstance(self.network, DenoisingConfig):
            msg = (
                "normal and validation.stages must be left out with network.kind denoising, which "
                f"has no data step, got {self.normal} and {self.validation.stages}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _corrected_where_factors_solve(self) -> TrainConfig:
        if self.normal == "corrected" and not getattr(self.network, "cg_iterations", 0):
            msg = (
                "normal must only be corrected for networks of kind unrolled with cg_iterations, "
                f"whose proximal steps solve with factors, got kind {self.network.kind} without; "
                "take factors or restricted"
            )
            raise ValueError(msg)
        return self

    def resolved(self, grid_shape: tuple[int, ...], *, is_complex: bool = False) -> TrainConfig:
        """Return the config with everything that depends on the volumes filled in.

        Raises
        ------
        InputError
            A patch shape has not as many axes as the volumes, or is larger, or the prior is not
            of the kind of the volumes.
        """
        patch_shape = _patch_shape("patch_shape", self.patch_shape, grid_shape)
        wanted = self.validation.patch_shape or patch_shape
        tile_shape = _patch_shape("validation.patch_shape", wanted, grid_shape)
        overlap = self.validation.overlap
        shortest = shortest_axis(tile_shape)
        overlap = shortest // 4 if overlap is None else overlap
        if overlap >= shortest:
            msg = f"validation.overlap must be below the patch's {shortest}, got {overlap}"
            raise InputError(msg)
        prior = self.network.prior.resolved(grid_shape, patch_shape, is_complex=is_complex)
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
        msg = f"{source} must be valid, got {describe_problems(error, TrainConfig)}"
        raise InputError(msg) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1 and key != "<<"})
        if twice:
            msg = f"the key {', '.join(twice)} twice"
            raise yaml.constructor.ConstructorError(None, None, msg, node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
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
