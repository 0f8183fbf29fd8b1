"""implicit_reconstruction: a volume as a neural field that is fitted to its measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from normalfit.operators.projection_operator import ProjectionOperator
from partunroll.errors import InputError
from partunroll.implicit.data_terms import OperatorTerm, RayTerm, as_volume
from partunroll.implicit.field_fit import fit_field
from partunroll.implicit.grid_level import dense_level, hash_levels
from partunroll.implicit.neural_field import FeatureGrid, NeuralField
from partunroll.implicit.rendering import field_of_view, render
from partunroll.implicit.scan_rays import scan_rays

if TYPE_CHECKING:
    from rich.progress import Progress

    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator
    from partunroll.implicit.field_fit import FitSteps
    from partunroll.implicit.grid_level import GridLevel

_PERCENTILE = 0.999  # of the magnitudes of the initial estimate: what the field calls one
_PERCENTILE_VOXELS = 2**24  # most that torch.quantile takes; of more, every k-th is looked at

ForwardModel = Literal["auto", "rays", "operator"]


@dataclass(frozen=True)
class HashEncoding:
    """A multiresolution hash grid; fields as for `hash_levels`, and features per level."""

    levels: int
    features: int
    coarsest: int
    growth: float | None
    table_size_log2: int

    def levels_of(self, grid: Grid) -> tuple[GridLevel, ...]:
        """Return the levels over a volume."""
        return hash_levels(
            grid,
            levels=self.levels,
            coarsest=self.coarsest,
            growth=self.growth,
            table_size_log2=self.table_size_log2,
        )


@dataclass(frozen=True)
class DenseEncoding:
    """One dense grid of latent features, its nodes `spacing` voxels apart."""

    features: int
    spacing: float

    def levels_of(self, grid: Grid) -> tuple[GridLevel, ...]:
        """Return the one level."""
        return (dense_level(grid, self.spacing),)


@dataclass(frozen=True)
class FieldOptions:
    """What is fitted and to what.

    Parameters
    ----------
    encoding
        The grid of features.
    width, hidden_layers
        Of the perceptron behind it.
    forward_model
        'rays' (random rays of a projector), 'operator' (A of the rendered volume), or 'auto':
        rays where an operator has them.
    rays, step
        Rays per iteration and longest step along them, in voxels; for 'rays' alone.
    tv_weight
        Weight of the total variation, see `RayTerm`.
    """

    encoding: HashEncoding | DenseEncoding
    width: int
    hidden_layers: int
    forward_model: ForwardModel
    rays: int
    step: float
    tv_weight: float


@dataclass(frozen=True, eq=False)
class ImplicitFit:
    """The rendered volume ``(*domain)``, and the loss of every iteration."""

    x: torch.Tensor
    losses: list[float]


def has_rays(operator: LinearOperator) -> bool:
    """Return whether an operator is a whole projector, whose rays are known."""
    return scan_rays(operator, torch.device("cpu")) is not None


def implicit_reconstruction(
    operator: LinearOperator,
    y: torch.Tensor,
    initial_estimate: torch.Tensor,
    options: FieldOptions,
    steps: FitSteps,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImplicitFit:
    """Fit a field to measurements, and return it as a volume (NAF: Zha et al. 2022).

    The same seed gives the same volume bit for bit on the CPU with the same number of threads.
    Voxels that no ray of a projector meets are zero.

    Parameters
    ----------
    operator, y
        ``A`` and ``y``, ``(*range)``.
    initial_estimate
        ``(*domain)``; only the size of its values is used, as the unit of the field.
    options, steps
        What is fitted, and how.
    seed
        Of the first weights, and of rays and samples.
    progress
        Where to show a bar.

    Raises
    ------
    InputError
        The forward model does not suit the operator, or measurements or estimate are zero.
    NotFiniteError
        The fit diverges.
    """
    unit = _unit(initial_estimate)
    generator = torch.Generator().manual_seed(seed)
    is_complex = initial_estimate.is_complex()
    field = NeuralField(
        FeatureGrid(
            options.encoding.levels_of(operator.domain), options.encoding.features, generator
        ),
        channels=2 if is_complex else 1,
        width=options.width,
        hidden_layers=options.hidden_layers,
        nonnegative=isinstance(operator, ProjectionOperator),
        generator=generator,
    ).to(y.device)
    term = _data_term(operator, y / unit, options, generator)
    with torch.enable_grad():
        losses = fit_field(field, term, steps, progress)
    with torch.no_grad():
        x = as_volume(render(field, operator.domain)) * unit
        if isinstance(operator, ProjectionOperator):
            x = torch.where(field_of_view(operator, y.device), x, 0.0)
    return ImplicitFit(x, losses)


def _data_term(
    operator: LinearOperator,
    y: torch.Tensor,
    options: FieldOptions,
    generator: torch.Generator,
) -> RayTerm | OperatorTerm:
    if not bool(y.any()):
        msg = f"y must not be zero everywhere, got {y.numel()} zeros"
        raise InputError(msg)
    rays = None if options.forward_model == "operator" else scan_rays(operator, y.device)
    if rays is not None:
        return RayTerm(rays, y, options.rays, options.step, options.tv_weight, generator)
    if options.forward_model == "rays":
        msg = (
            "forward_model rays must be used with a whole cone or parallel beam, "
            f"got {type(operator).__name__}; use operator"
        )
        raise InputError(msg)
    return OperatorTerm(operator, y, options.tv_weight)


def _unit(estimate: torch.Tensor) -> float:
    """Return the largest usual magnitude of an initial estimate."""
    magnitudes = estimate.detach().abs().flatten()
    thinned = magnitudes[:: max(1, -(-magnitudes.numel() // _PERCENTILE_VOXELS))]
    unit = float(torch.quantile(thinned.float(), _PERCENTILE))
    if not unit > 0:
        msg = f"initial_estimate must have values that are not zero, got {unit} as their size"
        raise InputError(msg)
    return unit
