"""Best factors of a dense operator: what any fit of the model is judged by."""

import pytest
import torch

from normalfit.dense import best_factors, dense_matrix, lag_matrix
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel


@pytest.mark.parametrize("boundary", [("periodic", "linear"), ("linear", "linear")])
def test_best_factors_recover_an_operator_that_has_factors(boundary):
    shape = (3, 4)
    draw = torch.Generator().manual_seed(3)
    lags = [n if end == "periodic" else 2 * n - 1 for n, end in zip(shape, boundary, strict=True)]
    kernel = LagKernel(torch.randn(1, *lags, dtype=torch.float64, generator=draw), shape, boundary)
    signs = torch.randn(1, *shape, dtype=torch.float64, generator=draw)
    u = signs.abs() + 0.5  # a diagonal of one sign, as operators have: few local minima
    N = dense_matrix(Factors(kernel, u), shape)
    found = best_factors(N, shape, boundary, starts=3)
    assert torch.linalg.norm(dense_matrix(found, shape) - N) < 1e-3 * torch.linalg.norm(N)


def test_more_terms_are_never_worse_on_a_linear_grid():
    torch.manual_seed(0)
    A = torch.randn(12, 12, dtype=torch.float64)
    N, shape = A.T @ A, (3, 4)
    errors = [
        torch.linalg.norm(
            dense_matrix(best_factors(N, shape, ("linear",) * 2, terms=k, starts=1), shape) - N
        )
        for k in (1, 2, 3)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_best_periodic_factors_are_the_truncated_svd():
    torch.manual_seed(0)
    A = torch.randn(20, 20, dtype=torch.float64)
    N = A.T @ A
    M, inside = lag_matrix(N, (4, 5), ("periodic", "periodic"))
    assert bool(inside.all())
    singular = torch.linalg.svdvals(M)
    for terms in (1, 3):
        found = dense_matrix(best_factors(N, (4, 5), ("periodic",) * 2, terms=terms), (4, 5))
        torch.testing.assert_close(
            torch.linalg.norm(found - N), torch.linalg.norm(singular[terms:])
        )
