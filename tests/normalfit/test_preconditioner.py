"""The preconditioner of symmetric factors, and the solution with it, against dense matrices."""

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, cg

import normalfit.preconditioner
from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.hermitian import hermitian
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.preconditioner import precondition, preconditioner, solve
from normalfit.restriction import restrict, restrict_batch

SHAPE = (5, 4, 3)
RIDGE = 0.01
DTYPES = [torch.float64, torch.complex128]
BOUNDARIES = list(itertools.product(["linear", "periodic"], repeat=3))


def make_kernel(shape, boundary, dtype=torch.float64):
    """Return a Hermitian kernel whose spectrum falls from 1 to below a thousandth of it."""
    grid = LagGrid.full(shape, boundary)
    axes = [torch.fft.fftfreq(m, dtype=torch.float64) for m in grid.fft_shape]
    frequencies = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    shift = 0.1 if dtype.is_complex else 0.0  # an uneven spectrum has a complex kernel
    spectrum = torch.exp(-25 * (frequencies - shift).square().sum(0)).to(torch.complex128)
    values = hermitian(grid.inverse_lags(spectrum, half=False), grid)
    return LagKernel((values if dtype.is_complex else values.real)[None], shape, boundary)


def make_factors(shape=SHAPE, boundary=None, dtype=torch.float64, lowest=0.7):
    kernel = make_kernel(shape, boundary or ("linear",) * len(shape), dtype)
    generator = torch.Generator().manual_seed(0)
    d = lowest + (1.3 - lowest) * torch.rand(1, *shape, dtype=torch.float64, generator=generator)
    return Factors(kernel, d.sqrt(), d.sqrt())


def dense(factors, dtype=None):
    return dense_matrix(factors, factors.shape, dtype or factors.dtype)


def right_hand_side(shape=SHAPE, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uncertainty", [0.0, 0.02])
def test_it_is_the_exact_inverse_on_a_periodic_grid(dtype, uncertainty):
    factors = make_factors(boundary=("periodic",) * 3, dtype=dtype)
    d = factors.u.square().flatten()
    largest = float(factors.kernel.full_spectrum.abs().max())
    rho = RIDGE / d.min() + uncertainty * largest
    expected = torch.linalg.inv(dense(factors) + rho * torch.diag(d))
    M = preconditioner(factors, RIDGE, uncertainty=uncertainty)
    torch.testing.assert_close(dense(M), expected, rtol=1e-9, atol=1e-9)


def test_without_diagonals_it_is_the_exact_inverse_of_the_ridged_convolution():
    factors = Factors(make_kernel(SHAPE, ("periodic",) * 3))
    expected = torch.linalg.inv(dense(factors) + RIDGE * torch.eye(60, dtype=torch.float64))
    M = preconditioner(factors, RIDGE, uncertainty=0)
    torch.testing.assert_close(dense(M), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_self_adjoint_positive_definite_and_at_most_one_by_the_ridge(boundary, dtype):
    M = preconditioner(make_factors(boundary=boundary, dtype=dtype), RIDGE, uncertainty=0)
    matrix = dense(M)
    torch.testing.assert_close(matrix, matrix.mH, rtol=1e-12, atol=1e-11)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > 0.1  # the largest of D^½ (C + ρI) D^½ is about 1.3
    assert eigenvalues.max() <= (1 + 1e-9) / RIDGE
    assert M.is_self_adjoint


def test_limited_lags_give_the_inverse_of_the_same_convolution():
    lags = (3, 3, 1)
    values = torch.zeros(lags, dtype=torch.float64)
    values[1, 1, 0], values[0, 1, 0], values[2, 1, 0] = 1.0, 0.4, 0.4
    kernel = LagKernel(values[None], (6, 4, 3), ("periodic", "linear", "periodic"))
    factors = Factors(kernel)
    expected = torch.linalg.inv(dense(factors) + RIDGE * torch.eye(72, dtype=torch.float64))
    M = preconditioner(factors, RIDGE, uncertainty=0)
    torch.testing.assert_close(dense(M), expected, rtol=1e-9, atol=1e-9)


def test_an_axis_without_lags_gets_none():
    kernel = make_kernel((8, 4), ("linear",) * 2)
    layered = LagKernel(kernel.values[:, None], (3, 8, 4), ("linear",) * 3)
    M = preconditioner(Factors(layered), RIDGE)
    assert M.lags == (1, 15, 7)
    b = right_hand_side((3, 8, 4))
    torch.testing.assert_close(M(b), precondition(Factors(kernel), b, RIDGE))


def test_a_diagonal_is_floored_relative_to_its_mean():
    factors = make_factors(lowest=0.0)
    d = factors.u.square()
    d[0, :2] = 0
    floored = d.clamp_min(0.2 * d.mean())
    zeroed, raised = (Factors(factors.kernel, t.sqrt(), t.sqrt()) for t in (d, floored))
    M, expected = (
        preconditioner(f, RIDGE, floor=floor) for f, floor in [(zeroed, 0.2), (raised, 1e-6)]
    )
    torch.testing.assert_close(dense(M), dense(expected))
    assert torch.linalg.eigvalsh(dense(M)).min() > 0


def test_scipy_cg_needs_at_most_half_of_the_iterations_with_it():
    shape = (16, 18)
    factors = make_factors(shape)
    b = right_hand_side(shape)

    def as_scipy(function):
        def apply(x):
            return function(torch.from_numpy(x).reshape(shape)).numpy().ravel()

        return LinearOperator((b.numel(), b.numel()), matvec=apply, dtype=np.float64)

    counts, solutions = [], []
    for M in (None, as_scipy(lambda r: precondition(factors, r, 1e-3))):
        iterates: list[np.ndarray] = []
        B = as_scipy(lambda x: factors(x) + 1e-3 * x)
        x, info = cg(B, b.numpy().ravel(), rtol=1e-8, M=M, callback=iterates.append)
        assert info == 0
        counts.append(len(iterates))
        solutions.append(x)
    assert counts[1] <= 0.5 * counts[0]
    np.testing.assert_allclose(solutions[1], solutions[0], atol=1e-5 * np.abs(solutions[0]).max())


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_solution_equals_the_dense_one(boundary, dtype):
    factors = make_factors(boundary=boundary, dtype=dtype, lowest=0.05)
    b = right_hand_side(dtype=dtype)
    result = solve(factors, b, RIDGE, tolerance=1e-12)
    matrix = dense(factors) + RIDGE * torch.eye(b.numel(), dtype=dtype)
    expected = torch.linalg.solve(matrix, b.flatten()).reshape(SHAPE)
    assert result.stop_reason == "tolerance reached"
    torch.testing.assert_close(result.x, expected, rtol=1e-8, atol=1e-8)


def test_solution_stops_where_it_is_told():
    factors, b = make_factors(), right_hand_side()
    loose = solve(factors, b, RIDGE, tolerance=1e-2)
    assert loose.residual_norms[-1] <= 1e-2 * loose.residual_norms[0] < loose.residual_norms[-2]
    few = solve(factors, b, RIDGE, tolerance=0, iterations=3)
    assert (few.iterations, few.stop_reason) == (3, "iteration limit")


def test_restricted_factors_are_served_though_their_spectrum_dips_below_zero():
    factors = make_factors((9, 8, 7), ("periodic",) * 3, lowest=0.05)
    patch = Patch((2, 1, 3), (5, 6, 4))
    part = restrict(factors, patch)
    assert float(part.kernel.half_spectrum.real.min()) < -1e-3
    M = preconditioner(part, RIDGE)
    assert torch.linalg.eigvalsh(dense(M)).min() > 0
    b = right_hand_side(patch.shape)
    matrix = dense(part) + RIDGE * torch.eye(b.numel(), dtype=torch.float64)
    expected = torch.linalg.solve(matrix, b.flatten()).reshape(patch.shape)
    result = solve(part, b, RIDGE, tolerance=1e-12)
    torch.testing.assert_close(result.x, expected, rtol=1e-8, atol=1e-8)


def test_a_batch_of_patches_is_preconditioned_as_each_alone():
    factors = make_factors((8, 7, 6), lowest=0.0)
    patches = [Patch((0, 1, 2), SHAPE), Patch((3, 3, 3), SHAPE)]
    b = torch.stack([right_hand_side(), 2 + right_hand_side()])
    together = precondition(restrict_batch(factors, patches), b, RIDGE)
    alone = [precondition(restrict(factors, p), x, RIDGE) for p, x in zip(patches, b, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_gradient_is_the_preconditioner_itself():
    factors = make_factors(boundary=("periodic", "linear", "linear"))
    x = right_hand_side().requires_grad_()
    y = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(precondition(factors, x, RIDGE), x, grad_outputs=y)
    torch.testing.assert_close(gradient, precondition(factors, y, RIDGE))


def test_a_real_preconditioner_serves_complex_volumes():
    factors, b = make_factors(), right_hand_side(dtype=torch.complex128)
    parts = [precondition(factors, part, RIDGE) for part in (b.real, b.imag)]
    torch.testing.assert_close(precondition(factors, b, RIDGE), torch.complex(*parts))


def test_it_is_made_once_for_a_ridge(monkeypatch):
    made = []

    def counting(*args, **kwargs):
        made.append(args[1])
        return preconditioner(*args, **kwargs)

    monkeypatch.setattr(normalfit.preconditioner, "preconditioner", counting)
    factors, b = make_factors(), right_hand_side()
    first = precondition(factors, b, 0.1)
    precondition(factors, b, 0.1)
    assert made == [0.1]
    assert not torch.allclose(precondition(factors, b, 0.2), first)
    torch.testing.assert_close(precondition(factors, b, 0.1), first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_gpu_equals_cpu(dtype):
    factors, b = make_factors(dtype=dtype), right_hand_side(dtype=dtype)
    on_gpu = precondition(factors.to("cuda"), b.cuda(), RIDGE).cpu()
    torch.testing.assert_close(on_gpu, precondition(factors, b, RIDGE))


def changed(kernel=None, u=None, v=None):
    factors = make_factors()
    u = factors.u if u is None else u
    values = factors.kernel.values if kernel is None else kernel
    return Factors(LagKernel(values, SHAPE, factors.boundary), u, u if v is None else v)


KERNEL = make_factors().kernel.values
U = make_factors().u
DELTA = torch.zeros_like(KERNEL)
DELTA[0, SHAPE[0] - 1, SHAPE[1] - 1, SHAPE[2] - 1] = 1
SKEW = KERNEL + torch.arange(KERNEL.shape[-1], dtype=torch.float64)
REFUSED = [
    (lambda: changed(kernel=KERNEL.repeat(2, 1, 1, 1)), "one term, got 2 terms"),
    (lambda: changed(v=2 * U), "equal diagonals u = v, got a difference of 1.1"),
    (lambda: Factors(changed().kernel, U), "equal diagonals u = v, got v absent"),
    (lambda: changed(u=U - 1), "u of zero or more, not zero everywhere, got -0.1"),
    (lambda: changed(u=0 * U), "u of zero or more, not zero everywhere, got 0 to 0"),
    (lambda: changed(u=U * 1j), "a real diagonal u, got an imaginary part of 1.1"),
    (lambda: changed(kernel=SKEW), r"h\(-τ\) = conj h\(τ\), got a difference of 4"),
    (
        lambda: changed(kernel=KERNEL - 0.02 * DELTA),
        "a spectrum of zero or more, got -0.0195 to 0.46",
    ),
    (lambda: changed(kernel=KERNEL * torch.nan), r"conj h\(τ\), got a difference of nan"),
    (lambda: changed(kernel=0 * KERNEL), "a spectrum of zero or more, got 0 to 0"),
]


def test_a_spectrum_that_rounding_or_cropped_lags_take_below_zero_is_clamped():
    M = preconditioner(changed(kernel=KERNEL - 0.003 * DELTA), RIDGE)
    assert torch.linalg.eigvalsh(dense(M)).min() > 0


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_factors_that_are_not_symmetric_and_positive_are_refused(make, message):
    with pytest.raises(InputError, match=rf"factors must have .*{message}.*; fit with model 'symm"):
        precondition(make(), right_hand_side(), RIDGE)
    with pytest.raises(InputError, match=message):
        solve(make(), right_hand_side(), RIDGE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 0.0}, "ridge must be positive and finite, got 0.0"),
        ({"ridge": -1.0}, "ridge must be positive and finite, got -1.0"),
        ({"ridge": float("nan")}, "ridge must be positive and finite, got nan"),
        ({"ridge": 1.0, "floor": 0.0}, "floor must be above 0 and at most 1, got 0.0"),
        ({"ridge": 1.0, "floor": 1.5}, "floor must be above 0 and at most 1, got 1.5"),
        ({"ridge": 1.0, "uncertainty": -0.1}, "uncertainty must be zero or more, got -0.1"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        preconditioner(make_factors(), **options)


def test_factors_precondition_and_solve_by_themselves():
    factors = make_factors()
    b = torch.ones(factors.shape, dtype=torch.float64)
    torch.testing.assert_close(factors.precondition(b, RIDGE), precondition(factors, b, RIDGE))
    solved = factors.solve(b, RIDGE, tolerance=1e-10)
    torch.testing.assert_close(factors(solved.x) + RIDGE * solved.x, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("is_complex", [False, True])
def test_solve_takes_narrower_and_real_right_hand_sides(dtype, is_complex):
    wide = torch.complex128 if is_complex else torch.float64
    factors = make_factors().to(dtype=wide)
    b = torch.ones(factors.shape, dtype=dtype)
    solved = factors.solve(b, RIDGE, tolerance=1e-10)
    assert solved.x.dtype == wide
    torch.testing.assert_close(factors(solved.x) + RIDGE * solved.x, b.to(wide))
