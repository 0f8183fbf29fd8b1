"""Adjointness is zero for adjoint pairs, and as large as the matrices differ for others."""

import pytest
import torch

from normalfit.adjointness import adjointness
from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator


def operator(A, At):
    return FunctionOperator(
        Grid((A.shape[1],)), Grid((A.shape[0],)), lambda x: A @ x, lambda y: At @ y
    )


def matrix(dtype=torch.float64):
    return torch.randn(30, 20, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-15)])
def test_an_adjoint_pair_differs_by_rounding(dtype, limit):
    A = matrix(dtype)
    assert adjointness(operator(A, A.T), dtype=dtype) < limit


def test_a_scaled_adjoint_differs_by_the_scale():
    A = matrix()
    pair = {"dtype": torch.float64, "seed": 1}
    once = adjointness(operator(A, 1.01 * A.T), **pair)
    twice = adjointness(operator(A, 1.02 * A.T), **pair)
    assert once > 1e-5
    assert twice == pytest.approx(2 * once, rel=1e-6)


def test_it_does_not_depend_on_the_scale_of_the_operator():
    A = matrix()
    wrong = A.T.clone()
    wrong[0] = 0
    small = adjointness(operator(A, wrong), dtype=torch.float64)
    large = adjointness(operator(1e6 * A, 1e6 * wrong), dtype=torch.float64)
    assert large == pytest.approx(small, rel=1e-9)


def test_an_operator_of_zeros_is_its_own_adjoint():
    A = torch.zeros(3, 4)
    assert adjointness(operator(A, A.T)) == 0.0


def test_values_whose_squares_overflow_in_float32_are_compared():
    A = 1e25 * matrix(torch.float32)
    assert adjointness(operator(A, 1.1 * A.T)) > 1e-3
