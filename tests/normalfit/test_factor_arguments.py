"""What factors refuse: dtypes, and arguments that do not fit."""

import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel

SHAPE = (4, 5)


def make_factors(dtype=torch.float64):
    kernel = torch.ones(2, 7, 9, dtype=dtype)
    images = torch.ones(2, *SHAPE, dtype=dtype)
    return Factors(LagKernel(kernel, SHAPE, ("linear", "linear")), images, images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_half_precision_and_whole_numbers_are_refused(dtype):
    with pytest.raises(InputError, match="must be single or double precision, got torch"):
        make_factors().to(dtype=dtype)


def test_complex_factors_stay_complex():
    with pytest.raises(InputError, match=r"complex64 or complex128, got torch\.float32"):
        make_factors(dtype=torch.complex128).to(dtype=torch.float32)


def test_other_dtypes_of_factors_are_refused():
    factors = make_factors()
    with pytest.raises(InputError, match=r"u must be float32 or float64, got torch\.int64"):
        Factors(factors.kernel, torch.ones_like(factors.u, dtype=torch.int64), factors.v)
    kernel = LagKernel(factors.kernel.values.half(), factors.shape, factors.boundary)
    with pytest.raises(InputError, match=r"kernel must be float32 or float64, got torch\.float16"):
        Factors(kernel, factors.u, factors.v)


def test_arguments_that_do_not_fit_are_refused():
    factors = make_factors()
    with pytest.raises(InputError, match="x must be a torch tensor, got ndarray"):
        factors(np.ones(SHAPE))
    several = Factors(factors.kernel, torch.stack([factors.u] * 2), factors.v)
    with pytest.raises(InputError, match=r"x must fit the batch axes \(2,\) of the factors, got"):
        several(torch.ones(3, *SHAPE))
