"""The ridges that a fit finds: scale-free, larger for weaker unknowns, none without noise."""

import pytest
import torch

from normalfit.lag_grid import LagGrid
from normalfit.shrinkage import kernel_ridge, lag_shells

GRID = LagGrid.full((6, 8), ("linear", "periodic"))
SHELLS = lag_shells(GRID)


def kernel(scale=1.0):
    noise = torch.randn(1, *GRID.lags, generator=torch.Generator().manual_seed(0))
    return scale * noise.double() / (1 + SHELLS) ** 2


def ridge_of(h, noise, information=30.0, previous=1.0):
    full = torch.ones_like(h)
    return kernel_ridge(h, information * full, previous * full, noise, SHELLS)


def test_shells_are_rounded_distances_from_lag_zero():
    assert SHELLS.shape == GRID.lags
    assert SHELLS[5, 4] == 0
    assert SHELLS[5 + 3, 4 - 4] == 5
    assert SHELLS[5 + 1, 4 + 1] == 1


def test_lags_of_one_shell_share_a_ridge_and_far_ones_have_more():
    ridge = ridge_of(kernel(), noise=1e-3)[0]
    assert ridge[SHELLS == 3].unique().numel() == 1
    assert ridge[SHELLS == 0].max() < ridge[SHELLS == 2].min() < ridge[SHELLS == 5].min()


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_ridges_do_not_depend_on_the_scale_of_the_operator(scale):
    base = ridge_of(kernel(), noise=0.01)
    scaled = ridge_of(kernel(scale), noise=0.01 * scale**2)
    torch.testing.assert_close(scaled, base, rtol=1e-10, atol=0)


def test_no_noise_means_no_ridge():
    assert not ridge_of(kernel(), noise=0.0).any()


def test_a_new_kernel_keeps_the_ridge_it_was_given():
    h = torch.zeros(1, *GRID.lags, dtype=torch.float64)
    assert torch.equal(ridge_of(h, noise=1.0, previous=7.0), torch.full_like(h, 7.0))
