"""Solutions with batches of factors, and ridges that are no numbers."""

from dataclasses import replace

import pytest
import torch

from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel

SHAPE = (6,)


def make_factors():
    """Return symmetric factors: the spectrum of the kernel is from 0.5 to 1.5."""
    h = torch.zeros(1, 11, dtype=torch.float64)
    h[0, 4:7] = torch.tensor([0.25, 1.0, 0.25])
    u = torch.linspace(0.8, 1.2, 6, dtype=torch.float64)[None]
    return Factors(LagKernel(h, SHAPE, ("linear",)), u, u)


def test_solve_broadcasts_to_the_batch_of_the_factors():
    one = make_factors()
    kernel = replace(one.kernel, values=torch.stack([one.kernel.values, 2 * one.kernel.values]))
    both = Factors(kernel, torch.stack([one.u, one.u / 2]), torch.stack([one.v, one.v / 2]))
    b = torch.randn(one.shape, dtype=one.dtype, generator=torch.Generator().manual_seed(1))
    x = both.solve(b, 0.1, tolerance=1e-9).x
    torch.testing.assert_close(both(x) + 0.1 * x, b.expand(2, *one.shape), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match=r"x must fit the batch axes \(2,\) of the factors"):
        both.solve(torch.zeros(3, *one.shape), 0.1)


@pytest.mark.parametrize("ridge", [None, "a"])
def test_a_ridge_that_is_no_number_is_refused(ridge):
    one = make_factors()
    with pytest.raises(InputError, match="ridge must be a number, got"):
        one.precondition(torch.ones(one.shape), ridge)
