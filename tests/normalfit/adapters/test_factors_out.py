"""Factors as operators of other libraries: the same B, and solvers that use it."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from normalfit.adapters.factor_module import FactorModule
from normalfit.adapters.factor_physics import FactorPhysics
from normalfit.adapters.scipy_factors import as_scipy
from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator

SHAPE = (4, 5)


def make_factors(dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    h, u, v = (
        torch.randn(2, *shape, dtype=dtype, generator=draw) for shape in ((7, 9), SHAPE, SHAPE)
    )
    return Factors(LagKernel(h, SHAPE, ("linear", "linear")), u, v)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_scipy(dtype):
    factors = make_factors(dtype)
    B = dense_matrix(factors, SHAPE, dtype).numpy()
    operator = as_scipy(factors)
    assert operator.dtype == B.dtype
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(B.dtype)
    np.testing.assert_allclose(operator @ x, B @ x, rtol=1e-4)
    np.testing.assert_allclose(operator @ x[:, 0], B @ x[:, 0], rtol=1e-4)
    np.testing.assert_allclose(operator.H @ x, B.conj().T @ x, rtol=1e-4)
    np.testing.assert_allclose(operator.rmatvec(x[:, 0]), B.conj().T @ x[:, 0], rtol=1e-4)


@pytest.mark.parametrize("name", ["kernel", "u", "v"])
def test_scipy_refuses_factors_with_batch_axes(name):
    factors = make_factors()
    arrays = {"kernel": factors.kernel.values, "u": factors.u, "v": factors.v}
    arrays[name] = torch.stack([arrays[name]] * 3)
    kernel = LagKernel(arrays.pop("kernel"), SHAPE, factors.boundary)
    with pytest.raises(InputError, match=r"factors must have no batch axes .* shape \(3, 2, "):
        as_scipy(Factors(kernel, **arrays))


@pytest.mark.parametrize("name", ["u", "v"])
def test_scipy_declares_the_widest_dtype(name):
    single = make_factors(torch.float32)
    arrays = {"u": single.u, "v": single.v}
    arrays[name] = make_factors(torch.complex128).u
    factors = Factors(single.kernel, **arrays)
    operator = as_scipy(factors)
    assert operator.dtype == np.complex128
    x = np.random.default_rng(0).normal(size=20)
    expected = factors(torch.from_numpy(x.reshape(SHAPE)))
    for result in (operator @ x, operator @ x.astype(np.float32)):
        assert result.dtype == np.complex128
        np.testing.assert_allclose(result, expected.numpy().ravel(), rtol=1e-5)


def test_scipy_solves_with_it():
    factors = make_factors().symmetrized()
    B = dense_matrix(factors, SHAPE).numpy()
    b = np.ones(20)
    x, stopped = scipy.sparse.linalg.minres(as_scipy(factors), b, rtol=1e-12)
    assert stopped == 0
    np.testing.assert_allclose(B @ x, b, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_module(dtype):
    factors = make_factors(dtype)
    module, other = FactorModule(factors), FactorModule(make_factors(dtype, seed=1))
    assert not list(module.parameters())
    assert all(not buffer.is_complex() for buffer in module.buffers())
    x = torch.randn(3, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x), factors(x))
    assert not torch.allclose(other(x), factors(x))
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(x), factors(x))
    single = torch.complex64 if dtype.is_complex else torch.float32
    module.to(torch.float32)
    assert module.factors.dtype == single
    torch.testing.assert_close(module(x.to(single)), factors(x).to(single), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_module_made_or_moved_in_inference_mode_works_in_and_out_of_it(dtype):
    single = torch.complex64 if dtype.is_complex else torch.float32
    x = torch.ones(SHAPE, dtype=single)
    expected = make_factors(dtype).to(dtype=single)(x)
    outside = FactorModule(make_factors(dtype))
    with torch.inference_mode():
        inside = FactorModule(make_factors(dtype))
        for module in (inside, outside):
            torch.testing.assert_close(module.to(torch.float32)(x), expected)
    for module in (inside, outside):
        assert module.factors is module.factors  # and so are their spectra
        y = x.clone().requires_grad_()
        module(y).abs().sum().backward()
        torch.testing.assert_close(module(x), expected)
        with torch.inference_mode():
            module.kernel.mul_(2)
        torch.testing.assert_close(module(x), 2 * expected)


def test_a_module_that_is_assigned_inference_tensors_follows_them():
    module = FactorModule(make_factors())
    with torch.inference_mode():
        state = {name: b.clone() for name, b in module.state_dict().items()}
        module.load_state_dict(state, assign=True)
        x = torch.ones(SHAPE, dtype=torch.float64)
        before = module(x)
        module.kernel.mul_(2)
        torch.testing.assert_close(module(x), 2 * before)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.float64])
def test_a_module_in_half_precision_keeps_its_factors_in_single(dtype, half):
    single = torch.complex64 if dtype.is_complex else torch.float32
    factors = make_factors(dtype).to(dtype=single).scaled(1e6)  # more than half precision holds
    module = torch.nn.Sequential(FactorModule(factors.to(dtype=dtype))).to(half)
    assert module[0].factors.dtype == single
    x = torch.ones(SHAPE)
    torch.testing.assert_close(module(x), factors(x))
    result = FactorModule(factors.scaled(1e-6)).to(half)(x.to(half))
    assert result.dtype == (single if dtype.is_complex else half)


def test_a_module_computes_with_a_state_in_half_precision_that_is_assigned():
    module = FactorModule(make_factors(torch.float32))
    state = {name: b.half() for name, b in module.state_dict().items()}
    expected = module(torch.ones(SHAPE))
    module.load_state_dict(state, assign=True)
    torch.testing.assert_close(module(torch.ones(SHAPE)), expected, rtol=1e-2, atol=1e-1)


def blur_operator(dtype=torch.float32):
    matrix = torch.randn(30, 20, dtype=dtype, generator=torch.Generator().manual_seed(3))
    return FunctionOperator(
        Grid(SHAPE), Grid((30,)),
        lambda x: x.reshape(len(x), -1) @ matrix.T,
        lambda y: (y @ matrix.conj()).reshape(len(y), *SHAPE),
        batched=True, is_complex=dtype.is_complex,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_physics(dtype):
    operator, factors = blur_operator(dtype), make_factors(dtype)
    physics = FactorPhysics(operator, factors)
    z = torch.randn(2, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(4))
    x = torch.stack([z.real, z.imag], 1) if dtype.is_complex else z[:, None]
    torch.testing.assert_close(physics.A(x), operator.forward(z))
    y = physics.A(x)
    back, expected = physics.A_adjoint(y), operator.adjoint(y)
    torch.testing.assert_close(back[:, 0], expected.real)
    normal, expected = physics.A_adjoint_A(x), factors(z)
    torch.testing.assert_close(normal[:, 0], expected.real)
    if dtype.is_complex:
        torch.testing.assert_close(normal[:, 1], expected.imag)


@pytest.mark.parametrize("wide", ["kernel", "u"])
def test_physics_refuses_complex_factors_of_a_real_operator(wide):
    real, other = make_factors(torch.float32), make_factors(torch.complex64)
    kernel = (other if wide == "kernel" else real).kernel
    factors = Factors(kernel, (other if wide == "u" else real).u, real.v)
    with pytest.raises(InputError, match=r"must be real for a real operator, got torch\.complex64"):
        FactorPhysics(blur_operator(), factors)


@pytest.mark.parametrize("method", ["A", "A_adjoint_A"])
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (torch.float32, (2, 3, *SHAPE)),
        (torch.float32, (2, *SHAPE)),
        (torch.complex64, (2, 1, *SHAPE)),
        (torch.complex64, (2, 3, *SHAPE)),
    ],
)
def test_physics_refuses_other_channels(dtype, shape, method):
    physics = FactorPhysics(blur_operator(dtype), make_factors(dtype))
    with pytest.raises(InputError, match=r"x must be \(batch, [12], .* got \(2, "):
        getattr(physics, method)(torch.ones(shape))


def test_deepinv_solvers_use_the_factors():
    from deepinv.optim.data_fidelity import L2

    operator, factors = blur_operator(), make_factors(torch.float32)
    physics = FactorPhysics(operator, factors)
    x, y = torch.ones(1, 1, *SHAPE), torch.ones(1, 30)
    expected = factors(x[:, 0])[:, None] - physics.A_adjoint(y)
    torch.testing.assert_close(L2().grad(x, y, physics), expected)
    square = factors.symmetrized()
    identity = Factors(square.kernel, square.u, square.v)
    B = dense_matrix(identity, SHAPE, torch.float32)
    shift = float(torch.linalg.eigvalsh(B).abs().max())  # makes B + shift positive definite
    physics = FactorPhysics(operator, square, solver="CG", max_iter=200, tol=1e-6)
    z = torch.ones(1, 1, *SHAPE)
    gamma = 0.5 / shift
    found = physics.prox_l2(z, y, gamma)
    right = (physics.A_adjoint(y) + z / gamma).flatten()
    solved = torch.linalg.solve(B + torch.eye(20) / gamma, right)
    torch.testing.assert_close(found.flatten(), solved, rtol=1e-3, atol=1e-3)


def test_factors_of_another_grid_are_refused():
    other = FunctionOperator(Grid((3, 3)), Grid((3, 3)), lambda x: x, lambda y: y)
    with pytest.raises(InputError, match="factors must be on the grid"):
        FactorPhysics(other, make_factors())


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_module_asked_for_complex_numbers_keeps_its_kind(dtype):
    factors = make_factors(dtype)
    module = FactorModule(factors).to(torch.complex128)
    assert module.factors.dtype == (torch.complex128 if dtype.is_complex else torch.float64)
    x = torch.ones(SHAPE, dtype=torch.float64)
    torch.testing.assert_close(module(x), factors(x), check_dtype=False, rtol=1e-4, atol=1e-4)
