"""NeuralField: values at any place of a volume, from features on grids and a small network."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from partunroll.implicit.feature_lookup import Lookup, interpolate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from partunroll.implicit.grid_level import GridLevel

_SHARPNESS = 10.0  # of the softplus: 0.07 where the perceptron says 0; our choice
_FIRST_FEATURES = 1e-4  # they start in ±1e-4 (Müller et al. 2022, section 4)


class FeatureGrid(nn.Module):
    """Features at positions, interpolated linearly on every level and put side by side.

    Parameters
    ----------
    levels
        One lattice or several.
    features
        Features per level.
    generator
        Of the first features.
    """

    def __init__(
        self, levels: Sequence[GridLevel], features: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        sizes = [level.table_size for level in self.levels]
        self._starts = (0, *itertools.accumulate(sizes))[:-1]
        table = torch.empty(sum(sizes), features)
        table.uniform_(-_FIRST_FEATURES, _FIRST_FEATURES, generator=generator)
        self.table = nn.Parameter(table)

    @property
    def num_features(self) -> int:
        """Features of all levels together."""
        return len(self.levels) * self.table.shape[1]

    def lookup(self, positions: Tensor) -> Lookup:
        """Return rows of the table and weights for positions ``(points, axes)``, in voxels."""
        rows, weights = [], []
        for start, level in zip(self._starts, self.levels, strict=True):
            row, weight = level.corners(positions)
            rows.append(row + start)
            weights.append(weight)
        return Lookup(torch.stack(rows, dim=1), torch.stack(weights, dim=1))

    def forward(self, lookup: Lookup) -> Tensor:
        return interpolate(self.table, lookup).flatten(1)


class NeuralField(nn.Module):
    """A `FeatureGrid` followed by a multilayer perceptron.

    Parameters
    ----------
    encoding
        The features.
    channels
        1 of a real volume, 2 (real and imaginary part) of a complex one.
    width, hidden_layers
        Of the perceptron, with rectified linear units.
    nonnegative
        Whether the values are made positive, by a softplus.
    generator
        Of the first weights.
    """

    def __init__(
        self,
        encoding: FeatureGrid,
        *,
        channels: int,
        width: int,
        hidden_layers: int,
        nonnegative: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        sizes = [encoding.num_features, *[width] * hidden_layers, channels]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            linear = nn.Linear(inputs, outputs)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
        layers[-1] = nn.Softplus(beta=_SHARPNESS) if nonnegative else nn.Identity()
        self.perceptron = nn.Sequential(*layers)

    def forward(self, lookup: Lookup) -> Tensor:
        """Return values ``(points, channels)`` at the places of a lookup."""
        return self.perceptron(self.encoding(lookup))

    def at(self, positions: Tensor) -> Tensor:
        """Return values ``(points, channels)`` at positions ``(points, axes)``, in voxels."""
        return self(self.encoding.lookup(positions))
