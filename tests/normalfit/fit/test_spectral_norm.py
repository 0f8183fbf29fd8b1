"""The spectral norm against the eigenvalues of a dense matrix."""

import itertools

import pytest
import torch

from normalfit.errors import InputError
from normalfit.spectral_norm import spectral_norm

SHAPE = (4, 6)


def matrix(eigenvalues):
    generator = torch.Generator().manual_seed(0)
    n = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator)).Q
    return (Q * eigenvalues) @ Q.T


def norm_of(N, **options):
    return spectral_norm(
        lambda x: (N @ x.flatten()).reshape(SHAPE), SHAPE, dtype=torch.float64, **options
    )


@pytest.mark.parametrize("gap", [0.0, 0.01, 1.0])
def test_converged_means_close_to_the_largest_eigenvalue(gap):
    eigenvalues = torch.linspace(0, 1, 24, dtype=torch.float64)
    eigenvalues[-1] = eigenvalues[-2] + gap
    result = norm_of(matrix(eigenvalues), tolerance=1e-6)
    assert result.converged
    assert result.value == pytest.approx(float(eigenvalues[-1]), rel=1e-9)


def test_the_value_never_exceeds_the_norm():
    N = matrix(torch.linspace(0, 1, 24, dtype=torch.float64))
    values = [norm_of(N, max_iterations=k, tolerance=0.0).value for k in range(1, 15)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    assert values[-1] <= 1 + 1e-12


def test_the_limit_is_kept_and_said():
    N = matrix(torch.linspace(0, 1, 24, dtype=torch.float64))
    result = norm_of(N, max_iterations=3, tolerance=1e-6)
    assert (result.converged, result.iterations) == (False, 3)


def test_iterations_count_applications():
    calls = []

    def normal(x):
        calls.append(1)
        return 3 * x

    result = spectral_norm(normal, SHAPE)
    assert result.value == pytest.approx(3.0, rel=1e-5)
    assert result.iterations == len(calls) == 1


def test_many_iterations_stay_correct_in_float32():
    """Orthogonality is lost long before 100 iterations; the largest eigenvalue is not."""
    eigenvalues = torch.cat([torch.linspace(0, 1, 23), torch.tensor([10.0])])
    N = matrix(eigenvalues.double()).float()
    result = spectral_norm(
        lambda x: (N @ x.flatten()).reshape(SHAPE), SHAPE, tolerance=0.0, max_iterations=100
    )
    assert result.value == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_one_large_entry_among_many_is_not_missed(seed):
    """A start that hardly meets it has a small residual at the many after one iteration."""
    diagonal = torch.ones(20, 20, 20)
    diagonal[10, 3, 4] = 1.8
    result = spectral_norm(lambda x: diagonal * x, diagonal.shape, seed=seed)
    assert result.converged
    assert result.value == pytest.approx(1.8, rel=1e-4)


def test_fewer_than_ten_iterations_are_not_called_converged():
    N = matrix(torch.linspace(0, 1, 24, dtype=torch.float64))
    nine, many = (norm_of(N, tolerance=0.5, max_iterations=k) for k in (9, 20))
    assert (nine.converged, nine.iterations) == (False, 9)
    assert (many.converged, many.iterations) == (True, 10)


def test_an_exhausted_space_ends_the_iteration():
    N = matrix(torch.tensor([1.0] * 23 + [2.0], dtype=torch.float64))
    result = norm_of(N, tolerance=1e-3)
    assert (result.converged, result.iterations) == (True, 2)
    assert result.value == pytest.approx(2.0, rel=1e-9)


def test_a_zero_operator_has_norm_zero():
    result = spectral_norm(torch.zeros_like, SHAPE)
    assert (result.value, result.converged) == (0.0, True)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        spectral_norm(lambda x: x * float("nan"), SHAPE)


def test_no_iteration_is_refused():
    with pytest.raises(InputError, match="max_iterations must be at least 1, got 0"):
        spectral_norm(lambda x: x, SHAPE, max_iterations=0)
