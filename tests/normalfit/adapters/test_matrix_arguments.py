"""Matrices as LinearOperators: dtypes, empty batches, lazy tensors, options."""

import math

import numpy as np
import pytest
import torch

from normalfit.adapters.any_operator import as_operator
from normalfit.errors import InputError

SHAPE = (5, 6)
SAMPLES = math.prod(SHAPE)


def random(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_a_matrix_of_complex_numbers_on_real_volumes():
    matrix = random(30, SAMPLES, dtype=torch.complex128).numpy()
    operator = as_operator(matrix, SHAPE, is_complex=False)
    x = random(*SHAPE, dtype=torch.float64)
    expected = (matrix.conj().T @ (matrix @ x.numpy().ravel())).real
    assert operator.normal(x).dtype == torch.float64
    torch.testing.assert_close(operator.normal(x).flatten(), torch.from_numpy(expected))


class _Untyped:
    """A map that says no dtype."""

    shape = (4, 4)
    matvec = rmatvec = staticmethod(lambda x: x)


@pytest.mark.parametrize("dtype", [None, "brick", str, object])
def test_what_says_no_dtype_of_numbers_is_refused(dtype):
    thing = _Untyped()
    if dtype is not None:
        setattr(thing, "dtype", dtype)  # noqa: B010 - the class has none
    with pytest.raises(InputError, match=r"matrix must h.* _Untyped"):
        as_operator(thing)


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch_stays_empty(batch):
    operator = as_operator(np.ones((6, SAMPLES)), SHAPE)
    assert operator.forward(torch.zeros(*batch, *SHAPE)).shape == (*batch, 6)
    assert operator.adjoint(torch.zeros(*batch, 6)).shape == (*batch, *SHAPE)


def test_lazy_conjugates_and_negatives_are_taken():
    operator = as_operator(np.ones((6, SAMPLES), np.float32), SHAPE)
    z = random(*SHAPE, dtype=torch.complex64).requires_grad_()
    lazy = z.conj().imag
    assert lazy.is_neg()
    y = operator.forward(lazy)
    torch.testing.assert_close(y, operator.forward(-z.imag.contiguous()))
    y.sum().backward()
    torch.testing.assert_close(z.grad, torch.full(SHAPE, -6j))


def test_options_that_an_adapter_does_not_have_are_refused():
    with pytest.raises(InputError, match=r"from_matrix must be among .*is_complex, got foo"):
        as_operator(np.eye(SAMPLES), SHAPE, foo=1)
