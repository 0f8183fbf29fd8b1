"""Measurements from a finer grid differ from those of the own grid, and converge to the truth."""

import numpy as np
import pytest
import torch

from partunroll.errors import InputError
from partunroll.measurements.finer_simulation import block_mean, finer_simulation
from partunroll.objects.made_objects import made_object


@pytest.mark.parametrize("kind", ["cone_spec", "parallel_spec"])
def test_the_finer_grid_is_another_discretisation_of_the_same_scan(kind, request):
    operator = request.getfixturevalue(kind).build()
    finer, same = finer_simulation(operator), finer_simulation(operator, same_grid=True)
    assert (finer.inverse_crime, same.inverse_crime) == (False, True)
    x = torch.from_numpy(made_object(finer.grid.shape, 3))
    reference, y = finer(x)
    assert reference.shape == operator.domain.shape
    assert y.shape == operator.range.shape
    own_reference, own_y = same(reference)
    torch.testing.assert_close(own_reference, reference)
    difference = float((y - own_y).norm() / y.norm())
    assert 1e-3 < difference < 0.1


def _crime(operator):
    """Return how far measurements of a smooth object are from those of its own grid."""
    finer = finer_simulation(operator)
    places = (np.indices(finer.grid.shape) + 0.5) / finer.grid.shape[0] - 0.5
    x = torch.from_numpy(np.exp(-0.5 * (places**2).sum(axis=0) / 0.14**2).astype(np.float32))
    reference, y = finer(x)
    return float((y - operator.forward(reference)).norm() / y.norm())


def test_both_grids_converge_to_the_same_measurements(cone_spec):
    operator = cone_spec.build()
    coarse, fine = _crime(operator), _crime(operator.refined(2))
    assert coarse < 0.03
    assert fine < 0.4 * coarse  # second order: a quarter


def test_an_operator_without_a_finer_grid_says_so(inpainting_spec):
    operator = inpainting_spec.build()
    simulation = finer_simulation(operator)
    assert simulation.inverse_crime
    assert simulation.grid == operator.domain
    x = torch.rand(operator.domain.shape)
    reference, y = simulation(x)
    torch.testing.assert_close(reference, x)
    torch.testing.assert_close(y, operator.forward(x))


def test_block_means():
    x = torch.arange(2 * 4 * 6, dtype=torch.float32).reshape(2, 4, 6)
    means = block_mean(x, (2, 3))
    assert means.shape == (2, 2, 3)
    assert means[1, 0, 2] == x[1, :2, 4:].mean()
    with pytest.raises(InputError, match=r"divide the finer shape \(4, 6\), got \(3, 3\)"):
        block_mean(x, (3, 3))
