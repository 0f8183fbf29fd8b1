"""Fields as volumes, and their total variation."""

import pytest
import torch

from normalfit.grid import Grid
from partunroll.implicit.grid_level import dense_level
from partunroll.implicit.neural_field import FeatureGrid, NeuralField
from partunroll.implicit.rendering import render
from partunroll.implicit.total_variation import field_variation, volume_variation

GRID = Grid((6, 5, 7))


def field_of(grid=GRID, *, nonnegative=False, hidden_layers=1):
    generator = torch.Generator().manual_seed(3)
    features = FeatureGrid([dense_level(grid, 2.0)], 4, generator)
    features.table.data.normal_(generator=generator)
    return NeuralField(
        features,
        channels=2,
        width=8,
        hidden_layers=hidden_layers,
        nonnegative=nonnegative,
        generator=generator,
    )


def test_voxels_are_values_at_their_centres():
    field = field_of()
    volume = render(field, GRID)
    assert volume.shape == (6, 5, 7, 2)
    places = torch.tensor([[0.0, 0.0, 0.0], [5.0, 2.0, 6.0]])
    torch.testing.assert_close(volume[[0, 5], [0, 2], [0, 6]], field.at(places))


def test_slabs_change_neither_the_volume_nor_the_gradient():
    gradients = []
    for slab_voxels in (10**6, 70):
        field = field_of()
        volume = render(field, GRID, slab_voxels=slab_voxels)
        volume.square().sum().backward()
        gradients.append((volume.detach(), field.encoding.table.grad))
    for whole, slabs in zip(*gradients, strict=True):
        torch.testing.assert_close(slabs, whole)


def test_values_are_positive_where_they_must_be():
    assert render(field_of(), GRID).min() < 0
    assert render(field_of(nonnegative=True), GRID).min() > 0


def test_total_variation_of_a_slope_is_its_length():
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in GRID.shape), indexing="ij")
    slope = (3 * axes[0] + 4 * axes[2])[..., None]
    inner = volume_variation(slope) * 6 * 7 / (5 * 6 + 3 / 5 * 5 + 4 / 5 * 6)  # rims lack a part
    assert float(inner) == pytest.approx(5.0, rel=1e-5)
    assert float(volume_variation(torch.ones(3, 4, 5, 2))) < 1e-3


@torch.no_grad()
def test_variation_at_random_points_is_that_of_the_volume():
    grid = Grid((1, 12, 12))
    field = field_of(grid, hidden_layers=0)
    sampled = field_variation(field, grid, 20_000, torch.Generator().manual_seed(0))
    thin, wide = torch.linspace(-0.5, 0.5, 11), torch.linspace(-0.5, 10.5, 111)
    places = torch.cartesian_prod(thin, wide, wide)
    here = field.at(places)
    ahead = [field.at(places + step) - here for step in torch.eye(3)[1:]]
    truth = torch.stack(ahead).square().sum((0, -1)).sqrt().mean()
    assert float(sampled) == pytest.approx(float(truth), rel=0.03)
