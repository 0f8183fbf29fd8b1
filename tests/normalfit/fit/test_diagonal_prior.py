"""The ridge of diagonals: by frequency, against the dense Fourier matrix."""

import pytest
import torch

from normalfit.diagonal_prior import (
    apply_ridge,
    diagonal_ridge,
    frequency_shells,
    mean_ridge,
    no_ridge,
    whitened_inverse,
)
from normalfit.smooth_image import smooth_image

SHAPE = (3, 1, 8)


def dense_ridge(ridge, shape, dtype):
    """The matrix of `apply_ridge` for one term, ``(samples, samples)``."""
    F = torch.ones(1, 1, dtype=torch.complex128)
    for n in shape:
        F = torch.kron(F, torch.fft.fft(torch.eye(n, dtype=torch.complex128), norm="ortho"))
    matrix = F.mH @ torch.diag(ridge[frequency_shells(shape).flatten()].to(F.dtype)) @ F
    return matrix if dtype.is_complex else matrix.real


def random(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_shells_count_frequencies_of_the_longest_axis():
    shells = frequency_shells(SHAPE)
    assert shells[0, 0].tolist() == [0, 0, 1, 2, 3, 2, 1, 0]
    assert shells[1, 0, 0] == 2  # one of 3 is 2.67 of 8
    assert shells[2, 0, 4] == 4
    assert no_ridge(random(1), 2, SHAPE).shape == (2, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_ridge_acts_on_the_frequencies_of_each_term(dtype):
    ridge, image = random(2, 5).square(), random(2, *SHAPE, dtype=dtype)
    applied = apply_ridge(ridge, image)
    for k in range(2):
        expected = dense_ridge(ridge[k], SHAPE, dtype) @ image[k].flatten()
        torch.testing.assert_close(applied[k].flatten(), expected)
    matrix = dense_ridge(ridge[0], SHAPE, dtype)
    assert float(mean_ridge(ridge, SHAPE)[0]) == pytest.approx(float(matrix.diagonal().real.mean()))


@pytest.mark.parametrize("same", ["ridge", "information"])
def test_the_preconditioner_is_exact_where_one_of_the_two_is_constant(same):
    ridge, known = random(1, 5).square() + 0.1, random(1, *SHAPE).square() + 0.1
    if same == "ridge":
        ridge = torch.full_like(ridge, 0.7)
    else:
        known = torch.full_like(known, 0.7)
    image = random(1, *SHAPE)
    product = known * image + apply_ridge(ridge, image)
    torch.testing.assert_close(whitened_inverse(ridge, known, half=True)(product), image)


def test_the_ridge_is_noise_over_variance_where_the_data_are_plenty():
    u = 1 + 0.5 * random(1, 100, 100)
    ridge = diagonal_ridge(u, 1e9 * torch.ones_like(u), no_ridge(u, 1, (100, 100)), 0.1)
    assert float(mean_ridge(ridge, (100, 100))) == pytest.approx(0.1 / 0.25, rel=0.05)
    assert float(ridge[0, 40]) == pytest.approx(0.1 / 0.25, rel=0.3)


def test_a_smooth_diagonal_has_a_small_ridge_at_low_frequencies_only():
    u = smooth_image((32, 32), torch.Generator().manual_seed(0)).double()[None]
    previous = torch.full_like(no_ridge(u, 1, (32, 32)), 30.0)
    ridge = diagonal_ridge(u, 30 * torch.ones_like(u), previous, 0.1)
    assert float(ridge[0, 0]) < 0.01 * float(ridge[0, 15])


def test_an_estimate_that_has_shrunk_to_nothing_can_recover():
    """Its own uncertainty keeps the variance positive, and so the ridge finite."""
    u = torch.ones(1, 4, 4, dtype=torch.float64)
    previous = torch.full_like(no_ridge(u, 1, (4, 4)), 5.0)
    ridge = diagonal_ridge(u, 3 * torch.ones_like(u), previous, 0.1)
    torch.testing.assert_close(ridge, torch.full_like(ridge, 8.0))


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_ridges_do_not_depend_on_the_scale_of_the_operator(scale):
    u, known = random(1, 6, 6), torch.ones(1, 6, 6, dtype=torch.float64)
    previous = torch.ones_like(no_ridge(u, 1, (6, 6)))
    base = diagonal_ridge(u, known, previous, 0.01)
    scaled = diagonal_ridge(scale * u, known, previous, 0.01 * scale**2)
    torch.testing.assert_close(scaled, base, rtol=1e-10, atol=0)


def test_no_noise_means_no_ridge():
    u = random(2, 4, 4)
    previous = torch.ones_like(no_ridge(u, 2, (4, 4)))
    assert not diagonal_ridge(u, torch.ones_like(u), previous, 0.0).any()
