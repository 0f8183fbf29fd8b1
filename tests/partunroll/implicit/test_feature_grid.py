"""Features between nodes: the hash and the interpolation against a slow, plain reference."""

import itertools
import math

import pytest
import torch

from normalfit.grid import Grid
from partunroll.implicit.feature_lookup import Lookup, interpolate
from partunroll.implicit.grid_level import GridLevel, dense_level, hash_levels
from partunroll.implicit.neural_field import FeatureGrid

PRIMES = (1, 2654435761, 805459861)


def plain_row(level, node):
    if math.prod(level.nodes) <= level.table_size:
        row = 0
        for count, index in zip(level.nodes, node, strict=True):
            row = row * count + index
        return row
    row = 0
    for index, prime in zip(node, PRIMES, strict=False):
        row ^= (index * prime) % 2**32  # the paper's unsigned 32-bit numbers
    return row % level.table_size


def plain_features(grid, position):
    """Features at one position, corner by corner, as the paper describes them."""
    features, start = [], 0
    for level in grid.levels:
        place = [(p + 0.5) / s for p, s in zip(position, level.spacing, strict=True)]
        place = [min(max(c, 0.0), n - 1.0) for c, n in zip(place, level.nodes, strict=True)]
        low = [min(int(c), n - 2) for c, n in zip(place, level.nodes, strict=True)]
        value = torch.zeros(grid.table.shape[1], dtype=torch.float64)
        for corner in itertools.product((0, 1), repeat=len(position)):
            weight = 1.0
            for c, edge, one in zip(place, low, corner, strict=True):
                weight *= c - edge if one else 1 - (c - edge)
            node = [edge + one for edge, one in zip(low, corner, strict=True)]
            value += weight * grid.table[start + plain_row(level, node)].double()
        features.append(value)
        start += level.table_size
    return torch.cat(features)


@pytest.mark.parametrize(
    "volume", [Grid((9, 12, 20), (2.0, 1.0, 1.0)), Grid((14, 9)), Grid((1, 7, 16))], ids=str
)
def test_features_are_those_of_the_plain_reference(volume):
    generator = torch.Generator().manual_seed(0)
    levels = hash_levels(volume, levels=3, coarsest=3, growth=2.3, table_size_log2=6)
    assert {level.is_dense for level in levels} == {True, False}
    grid = FeatureGrid(levels, 2, generator)
    grid.table.data.normal_(generator=generator)
    inside = torch.rand(40, volume.num_axes, generator=generator) * torch.tensor(volume.shape) - 0.5
    corners = torch.tensor([[-0.5] * volume.num_axes, [n - 0.5 for n in volume.shape]])
    positions = torch.cat([inside, corners])
    expected = torch.stack([plain_features(grid, p) for p in positions.tolist()])
    with torch.no_grad():
        torch.testing.assert_close(grid(grid.lookup(positions)).double(), expected, **CLOSE)


CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_values_at_nodes_are_the_rows_themselves():
    level = dense_level(Grid((5, 4, 3)), spacing=1.0)
    grid = FeatureGrid([level], 3, torch.Generator().manual_seed(0))
    axes = [torch.arange(n) for n in level.nodes]
    nodes = torch.cartesian_prod(*axes)
    values = grid(grid.lookup(nodes - 0.5))
    assert level.nodes == (6, 5, 4)
    rows = (nodes[:, 0] * 5 + nodes[:, 1]) * 4 + nodes[:, 2]
    assert torch.equal(values, grid.table[rows])


def test_linear_functions_are_interpolated_exactly():
    level = dense_level(Grid((6, 5)), spacing=1.5)
    nodes = torch.cartesian_prod(*[torch.arange(n) for n in level.nodes]).double()
    table = torch.stack([nodes @ torch.tensor([2.0, -1.0]).double() + 3], dim=1)
    positions = torch.rand(50, 2, dtype=torch.float64) * torch.tensor([6.0, 5.0]) - 0.5
    rows, weights = level.corners(positions)
    values = interpolate(table, Lookup(rows[:, None], weights[:, None]))[:, 0, 0]
    expected = (positions + 0.5) / 1.5 @ torch.tensor([2.0, -1.0]).double() + 3
    torch.testing.assert_close(values, expected)


def test_gradient_of_the_table_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(7, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = torch.randint(7, (5, 2, 4), generator=generator)
    weights = torch.rand(5, 2, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda t: interpolate(t, Lookup(rows, weights)), table)


def test_last_level_has_a_cell_per_voxel_and_levels_grow_by_a_factor():
    levels = hash_levels(Grid((10, 48, 48)), levels=5, coarsest=3, growth=None, table_size_log2=12)
    assert levels[0].nodes[1:] == (4, 4)
    assert levels[0].spacing == (16.0,) * 3
    assert levels[-1].spacing == (1.0,) * 3
    assert [level.nodes[2] - 1 for level in levels] == [3, 6, 12, 24, 48]
    assert levels[-1].table_size == 2**12
    assert levels[0].table_size == math.prod(levels[0].nodes)


def test_cells_are_cubes_in_mm():
    (level,) = hash_levels(
        Grid((10, 20), (3.0, 1.0)), levels=1, coarsest=10, growth=2.0, table_size_log2=12
    )
    assert level == GridLevel((1.0, 3.0), (11, 8), 88)
