"""What every LinearOperator checks, whatever its subclass does."""

import pytest
import torch

from normalfit.errors import BackendError, InputError
from normalfit.grid import Grid, Patch
from normalfit.linear_operator import FunctionOperator, LinearOperator

GRID, HALF = Grid((4, 6)), Grid((4, 3))


def operator(forward=lambda x: 2 * x, adjoint=lambda y: 2 * y, range_=GRID, *, batched=False):
    return FunctionOperator(GRID, range_, forward, adjoint, batched=batched)


class Broken(LinearOperator):
    """A subclass whose results do not fit."""

    def __init__(self, result):
        self.domain = self.range = GRID
        self.result = result

    def _forward(self, x):
        return self.result

    def _adjoint(self, y):
        return self.result


def fails(message="no"):
    def function(x):
        raise ValueError(message)

    return function


@pytest.mark.parametrize("batched", [False, True])
def test_results_of_another_shape_are_refused(batched):
    wrong = operator(lambda x: x[..., :5], lambda y: y[..., :1, :], batched=batched)
    x = torch.ones(2, 4, 6)
    with pytest.raises(
        InputError, match=r"forward must return shape \(\.\.\., 4, 6\), got \(2, 4, 5\)"
    ):
        wrong.forward(x)
    with pytest.raises(
        InputError, match=r"adjoint must return shape \(\.\.\., 4, 6\), got \(2, 1, 6\)"
    ):
        wrong.adjoint(x)


@pytest.mark.parametrize(
    ("result", "got"),
    [(None, "NoneType"), (torch.ones(4, 6), r"\(4, 6\)"), (torch.ones(2, 4, 6), r"\(2, 4, 6\)")],
)
def test_results_of_a_subclass_are_checked(result, got):
    for function in (Broken(result).forward, Broken(result).adjoint):
        with pytest.raises(InputError, match=f"must return shape .* got {got}"):
            function(torch.ones(4, 6))


def test_a_patch_of_a_broken_operator_is_refused():
    part = operator(lambda x: x[:3]).restricted(Patch((0, 0), (2, 2)))
    with pytest.raises(InputError, match="forward must return shape"):
        part.forward(torch.ones(2, 2))


def test_exceptions_of_functions_are_one_line():
    broken = operator(fails("a\nb"), fails("c"))
    with pytest.raises(InputError, match=r"forward must return a tensor, got ValueError: a b$"):
        broken.forward(torch.ones(4, 6))
    with pytest.raises(
        InputError, match=r"adjoint must return a tensor, got ValueError: c$"
    ) as caught:
        broken.adjoint(torch.ones(4, 6))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [MemoryError(), BackendError("no GPU"), torch.OutOfMemoryError()])
def test_errors_with_a_meaning_of_their_own_pass(error):
    def forward(x):
        raise error

    with pytest.raises(type(error)):
        operator(forward).forward(torch.ones(4, 6))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float16])
def test_other_than_single_and_double_precision_is_refused(dtype):
    x = torch.ones(4, 6, dtype=dtype)
    for name, function in (("x", operator().forward), ("y", operator().adjoint)):
        with pytest.raises(InputError, match=f"{name} must be float32 or float64, got {dtype}"):
            function(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_single_and_double_precision_are_kept(dtype):
    assert operator().normal(torch.ones(3, 2, 4, 6, dtype=dtype)).dtype is dtype


def test_the_gradient_of_a_real_image_is_real():
    """Complex measurements of a real image, as in MRI."""
    fourier = operator(torch.fft.fft2, lambda y: 24 * torch.fft.ifft2(y), batched=True)
    x = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 4, 6, dtype=torch.complex128)
    (gradient,) = torch.autograd.grad(fourier.forward(x), x, grad_outputs=y)
    assert gradient.dtype is torch.float64
    torch.testing.assert_close(gradient, fourier.adjoint(y).real)
    assert torch.autograd.gradcheck(fourier.forward, (x,))


def test_a_function_that_returns_its_argument_gives_a_copy():
    grid = Grid((3,))
    identity = FunctionOperator(grid, grid, lambda x: x, lambda y: y, batched=True)
    x = torch.zeros(2, 3)
    y = identity.forward(x)
    y += 1
    assert not x.any()


def test_what_is_no_tensor_is_refused():
    grid = Grid((3,))
    identity = FunctionOperator(grid, grid, lambda x: x, lambda y: y)
    with pytest.raises(InputError, match="x must be a torch tensor, got list"):
        identity.forward([1.0, 2.0, 3.0])
