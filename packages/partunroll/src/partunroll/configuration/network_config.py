"""NetworkConfig: which network is trained, as a part of the YAML and of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from partunroll.configuration.config_section import Count, Section
from partunroll.errors import InputError

NoiseLevel = Annotated[float, Field(ge=0, lt=10)]
LARGEST_STEP_SIZE = 2.0  # of a gradient step that is stable for every spectrum in [0, 1]

# by dimension; on the demo's 3-D priors deepinv's were better (31.98 instead of 30.95 dB), on
# ct_small's, which take proximal steps, not
FRESH_WEIGHTS: dict[int, Literal["balanced", "deepinv"]] = {2: "balanced", 3: "deepinv"}


class DRUNetConfig(Section):
    """The DRUNet; the widths and blocks are small enough for two CPU cores (our choice)."""

    dim: Literal[2, 3] | None = None  # None: as many axes as the patches have of more than a voxel
    slice_axis: Literal[0, 1, 2] | None = None  # across the slices of a 2-D prior; None: by patch
    channels: Literal[1, 2] | None = None  # None: 2 (real and imaginary part) of complex volumes
    widths: tuple[Count, Count, Count, Count] = (8, 16, 32, 64)
    blocks: int = Field(1, ge=1)
    residual: bool = True  # D(x) = x + DRUNet(x): near identity before training (our choice)
    demodulate: bool = (
        False  # take the phase of complex volumes out before the DRUNet, and put it back
    )
    # of a prior that starts anew; None: by dimension; balanced is `initialize_prior`
    fresh_weights: Literal["balanced", "deepinv"] | None = None
    weights: str | None = None  # path of weights to start from, 2-D ones inflated to 3-D
    # 2.1 times faster than torch's default layout on the CPU (32³, widths 8 … 64)
    channels_last: bool = True

    def resolved(
        self, grid_shape: tuple[int, ...], patch_shape: tuple[int, ...], *, is_complex: bool
    ) -> Self:
        """Return it for volumes and patches of these shapes, nothing left open.

        Raises
        ------
        InputError
            Dimension, slices or channels are not those of the volumes and patches.
        """
        flat = [axis for axis, length in enumerate(patch_shape) if length == 1]
        slices = len(grid_shape) == 3 and len(flat) == 1
        dim = self.dim or (2 if slices else len(grid_shape))
        if dim > len(grid_shape):
            msg = f"network.prior.dim must be 2 for volumes of shape {grid_shape}, got {dim}"
            raise InputError(msg)
        of_slices = dim < len(grid_shape)
        slice_axis = self.slice_axis
        if slice_axis is not None and not of_slices:
            msg = "network.prior.slice_axis must be left out but for 2-D priors of 3-D volumes, "
            raise InputError(msg + f"got {slice_axis}")
        if of_slices and slice_axis is None:
            slice_axis = flat[0] if slices else 0  # type: ignore[assignment] # an index of three
        channels: Literal[1, 2] = 2 if is_complex else 1
        if self.channels not in (None, channels):
            kind = "complex" if is_complex else "real"
            msg = f"network.prior.channels must be {channels} for {kind} volumes, "
            raise InputError(msg + f"got {self.channels}")
        if self.demodulate and not is_complex:
            msg = "network.prior.demodulate must be left out for real volumes, got true"
            raise InputError(msg)
        found = {
            "dim": dim,
            "channels": channels,
            "slice_axis": slice_axis,
            "fresh_weights": self.fresh_weights or FRESH_WEIGHTS[dim],
        }
        return self.model_copy(update=found)


class PriorConfig(DRUNetConfig):
    """A DRUNet as the prior of a reconstruction."""

    noise_level: float = Field(0.05, ge=0)  # the fixed noise-level input


class UnrolledConfig(Section):
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


class PostProcessingConfig(Section):
    """The prior alone."""

    kind: Literal["post_processing"] = "post_processing"
    prior: PriorConfig = PriorConfig()


class DenoisingConfig(Section):
    """A denoiser of Gaussian noise, for plug-and-play: the noise-level input is the true level."""

    kind: Literal["denoising"] = "denoising"
    # standard deviation, of the real and of the imaginary part each; drawn uniformly for every
    # patch. DRUNet's own training has 0 … 50/255 (Zhang et al. 2021)
    noise_levels: tuple[NoiseLevel, NoiseLevel] = (0.0, 0.2)
    prior: DRUNetConfig = DRUNetConfig()

    @model_validator(mode="after")
    def _a_range(self) -> DenoisingConfig:
        low, high = self.noise_levels
        if low > high or high == 0:
            msg = f"noise_levels must be a range of positive levels, got {low:g} to {high:g}"
            raise ValueError(msg)
        return self


def _with_kind(network: object) -> Any:  # noqa: ANN401 - what pydantic is to judge
    return {"kind": "unrolled", **network} if isinstance(network, Mapping) else network


NetworkConfig = Annotated[
    UnrolledConfig | PostProcessingConfig | DenoisingConfig,
    Discriminator("kind"),
    BeforeValidator(_with_kind),
]
