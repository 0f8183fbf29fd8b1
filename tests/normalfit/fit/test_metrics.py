"""Errors on the grid and on patches against the dense matrices."""

import itertools
import math
import weakref

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.grid import Grid, Patch
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator
from normalfit.metrics import grid_error, patch_error
from normalfit.random_patch import half_grid, random_patch

SHAPE = (5, 4)
PATCH = (3, 2)


def blur():
    """A convolution with weights that change over the grid."""
    weights = torch.linspace(0.5, 1.5, 20).reshape(SHAPE)

    def forward(x):
        padded = torch.nn.functional.pad(weights.to(x) * x, (1, 1))
        return padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]

    def adjoint(y):
        padded = torch.nn.functional.pad(y, (1, 1))
        return weights.to(y) * (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:])

    return FunctionOperator(Grid(SHAPE), Grid(SHAPE), forward, adjoint, batched=True)


def guess():
    kernel = torch.zeros(1, 9, 7)
    kernel[0, 4, 1:6] = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    return Factors(LagKernel(kernel, SHAPE, ("linear", "linear")), torch.full((1, *SHAPE), 1.1))


def relative(difference, reference):
    return float(torch.linalg.norm(difference) / torch.linalg.norm(reference))


def test_grid_error_is_the_relative_frobenius_norm():
    N, B = dense_matrix(blur().normal, SHAPE), dense_matrix(guess(), SHAPE)
    estimate = grid_error(blur().normal, guess(), SHAPE, probes=2000)
    assert estimate.value == pytest.approx(relative(N - B, N), rel=0.02)
    assert estimate.low < relative(N - B, N) < estimate.high
    assert estimate.probes == 2000


def test_grid_error_keeps_no_probe():
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def normal(w):
        nonlocal most
        alive.add(w)
        most = max(most, len(alive))
        return 2 * w

    grid_error(normal, lambda w: w, SHAPE, probes=20)
    assert most <= 2  # the one before is freed once the next one is drawn


def test_patch_error_is_that_of_all_patches_together():
    N, B = dense_matrix(blur().normal, SHAPE), dense_matrix(guess(), SHAPE)
    index = torch.arange(20).reshape(SHAPE)
    error = total = 0.0
    for offset in itertools.product(range(3), range(3)):  # every place, the last ones too
        inside = Patch(offset, PATCH).extract(index).flatten()
        part, difference = N[inside][:, inside], (N - B)[inside][:, inside]
        error += float(difference.square().sum())
        total += float(part.square().sum())
    estimate = patch_error(blur(), guess(), PATCH, probes=3000)
    assert estimate.value == pytest.approx(math.sqrt(error / total), rel=0.03)


def test_the_same_seed_gives_the_same_estimate():
    first, second, other = (
        patch_error(blur(), guess(), PATCH, probes=4, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_exact_factors_have_no_error():
    def exact(x):
        return blur().normal(x)

    assert grid_error(blur().normal, exact, SHAPE, probes=3).value == 0.0


def test_half_of_the_grid_is_the_default_patch():
    assert half_grid(SHAPE) == (3, 2)
    default = patch_error(blur(), guess(), probes=3)
    assert default == patch_error(blur(), guess(), (3, 2), probes=3)


def test_every_offset_is_drawn_equally_often():
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(3, 3)
    for _ in range(1800):
        counts[random_patch(SHAPE, PATCH, generator).offset] += 1
    assert float((counts - 200).abs().max()) < 4 * math.sqrt(200)


@pytest.mark.parametrize("patch_shape", [(6, 2), (3,), (0, 2)])
def test_a_patch_that_does_not_fit_is_refused(patch_shape):
    with pytest.raises(InputError, match="patch_shape must fit the grid"):
        patch_error(blur(), guess(), patch_shape, probes=2)


def test_one_probe_is_refused():
    with pytest.raises(InputError, match="at least two"):
        grid_error(blur().normal, guess(), SHAPE, probes=1)
