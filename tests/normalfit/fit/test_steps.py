"""The steps of least squares against direct solutions of the same dense problems."""

import math
from functools import partial

import pytest
import torch

from normalfit import probed_terms
from normalfit.diagonal_prior import apply_ridge, no_ridge
from normalfit.diagonal_step import DiagonalEquations
from normalfit.hermitian import hermitian
from normalfit.inner_diagonal_step import solve_inner_diagonals
from normalfit.kernel_step import expected_gram, solve_kernels
from normalfit.lag_grid import LagGrid
from normalfit.probed_terms import ProbedTerms
from normalfit.probes import ProbeSet
from normalfit.terms import Terms

SHAPE = (3, 4)
SAMPLES = 12
BOUNDARIES = [("linear", "linear"), ("periodic", "periodic"), ("linear", "periodic")]
DTYPES = [torch.float64, torch.complex128]
TO_THE_END = {"iterations": 500, "tolerance": 1e-13}


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def unit_vectors(dtype=torch.float64):
    return torch.eye(SAMPLES, dtype=dtype).reshape(SAMPLES, *SHAPE)


def design_matrix(probed, num_kernels, dtype):
    """The matrix from kernels ``(terms, *lags)`` to all responses, column by column."""
    units = torch.eye(num_kernels * math.prod(probed.grid.lags), dtype=dtype)
    columns = [
        torch.stack(list(probed.responses(unit.reshape(num_kernels, *probed.grid.lags)))).flatten()
        for unit in units
    ]
    return torch.stack(columns, dim=1)


def tied_columns(grid, terms, dtype):
    """A real basis of the Hermitian kernels, as columns."""
    units = torch.eye(terms * math.prod(grid.lags), dtype=dtype).reshape(-1, terms, *grid.lags)
    units = torch.cat([units, 1j * units]) if dtype.is_complex else units
    return torch.stack([hermitian(unit, grid).flatten() for unit in units], dim=1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_v", [False, True])
@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("budget", [0, 2**28])
def test_probed_terms_and_their_adjoint(
    boundary, dtype, with_v, both_sides, shared, budget, monkeypatch
):
    monkeypatch.setattr(probed_terms, "SPECTRA_BYTES", budget)
    grid = LagGrid.full(SHAPE, boundary)
    w = random(5, *SHAPE, dtype=dtype)
    h = random(1 if shared else 2, *grid.lags, dtype=dtype, seed=1)
    u = random(2, *SHAPE, dtype=dtype, seed=2)
    v = random(2, *SHAPE, dtype=dtype, seed=3) if with_v else None
    probed = ProbedTerms(grid, w, u, v, shared=shared, both_sides=both_sides)
    y = random(5 * (1 + both_sides), *SHAPE, dtype=dtype, seed=4)
    responses = torch.stack(list(probed.responses(h)))
    left = torch.vdot(y.flatten(), responses.flatten())
    right = torch.vdot(probed.adjoint(iter(y)).flatten(), h.flatten())
    # the second side is B*, antilinear in complex kernels: real parts are what least squares uses
    torch.testing.assert_close(left.real, right.real, rtol=1e-12, atol=1e-12)
    assert probed.energy == pytest.approx((1 + both_sides) * float(w.abs().square().sum()) / 12)
    B = Terms(u, h, v, h.real, h.real, h.real).factors(grid)
    torch.testing.assert_close(responses[:5], B(w), rtol=1e-12, atol=1e-12)
    if both_sides:
        torch.testing.assert_close(responses[5:], B.adjoint(w), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("with_v", [False, True])
def test_kernel_step_solves_the_ridge_regression(boundary, dtype, terms, with_v):
    grid = LagGrid.full(SHAPE, boundary)
    u = random(terms, *SHAPE, dtype=dtype, seed=2)
    v = random(terms, *SHAPE, dtype=dtype, seed=5) if with_v else None
    probed = ProbedTerms(grid, random(6, *SHAPE, dtype=dtype), u, v)
    responses = random(6, *SHAPE, dtype=dtype, seed=1)
    ridge = random(terms, *grid.lags, seed=3).square() + 0.1
    X = design_matrix(probed, terms, dtype)
    weight = torch.diag(ridge.flatten()).to(dtype)
    expected = torch.linalg.solve(X.mH @ X + weight, X.mH @ responses.flatten())
    solved = solve_kernels(
        probed,
        responses,
        torch.zeros(terms, *grid.lags, dtype=dtype),
        ridge,
        expected_gram(grid, u, v, probed.energy),
        **TO_THE_END,
    )
    torch.testing.assert_close(solved.x.flatten(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [False, True])
def test_tied_kernel_step_solves_the_constrained_regression(boundary, dtype, shared):
    grid, kernels = LagGrid.full(SHAPE, boundary), 1 if shared else 2
    v = random(2, *SHAPE, dtype=dtype, seed=2)
    u = v.conj().resolve_conj()
    probed = ProbedTerms(grid, random(6, *SHAPE, dtype=dtype), u, v, shared=shared)
    responses = random(6, *SHAPE, dtype=dtype, seed=1)
    ridge = torch.full((kernels, *grid.lags), 0.3, dtype=torch.float64)
    gram = expected_gram(grid, u, v, probed.energy)
    solved = solve_kernels(
        probed,
        responses,
        random(kernels, *grid.lags, dtype=dtype, seed=8),
        ridge,
        gram.sum((0, 1), keepdim=True) if shared else gram,
        tie=partial(hermitian, grid=grid),
        **TO_THE_END,
    )
    basis = tied_columns(grid, kernels, dtype)
    X = torch.cat([design_matrix(probed, kernels, dtype) @ basis, math.sqrt(0.3) * basis])
    right = torch.cat([responses.flatten(), basis.new_zeros(len(basis))])
    if dtype.is_complex:  # the coefficients of the basis are real
        X, right = torch.cat([X.real, X.imag]), torch.cat([right.real, right.imag])
    # the basis holds every kernel twice
    coefficients = torch.linalg.lstsq(X, right[:, None], driver="gelsd").solution[:, 0]
    expected = basis @ coefficients.to(dtype)
    torch.testing.assert_close(solved.x.flatten(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("with_v", [False, True])
def test_expected_gram_is_exact_for_unit_vectors(boundary, dtype, terms, with_v):
    grid = LagGrid.full(SHAPE, boundary)
    u = random(terms, *SHAPE, dtype=dtype)
    v = random(terms, *SHAPE, dtype=dtype, seed=1) if with_v else None
    probed = ProbedTerms(grid, unit_vectors(dtype), u, v)
    X = design_matrix(probed, terms, dtype)
    gram = expected_gram(grid, u, v, probed.energy).flatten(2)
    expected = torch.zeros(terms, gram.shape[2], terms, gram.shape[2], dtype=dtype)
    diagonal = torch.arange(gram.shape[2])
    expected[:, diagonal, :, diagonal] = gram.movedim(2, 0)
    torch.testing.assert_close(X.mH @ X, expected.reshape(X.shape[1], X.shape[1]))


@pytest.mark.parametrize("both_sides", [False, True])
def test_the_preconditioner_pays(both_sides):
    """With unit vectors it is the inverse: one iteration, where plain steps need many."""
    grid = LagGrid.full(SHAPE, ("linear", "linear"))
    u = random(1, *SHAPE)
    probed = ProbedTerms(grid, unit_vectors(), u, both_sides=both_sides)
    solved = solve_kernels(
        probed,
        random(12 * (1 + both_sides), *SHAPE, seed=1),
        torch.zeros(1, *grid.lags, dtype=torch.float64),
        torch.zeros(1, *grid.lags, dtype=torch.float64),
        expected_gram(grid, u, None, probed.energy),
        iterations=5,
        tolerance=1e-6,
    )
    assert solved.iterations == 1


def prior_matrix(ridge, dtype):
    """The matrix of the ridges ``(terms, shells)`` on all diagonals of SHAPE."""
    units = torch.eye(len(ridge) * SAMPLES, dtype=dtype).reshape(-1, len(ridge), *SHAPE)
    return torch.stack([apply_ridge(ridge, unit).flatten() for unit in units], dim=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("white", [True, False])
def test_diagonal_step_solves_the_ridge_regression(dtype, terms, white):
    features = random(5, terms, *SHAPE, dtype=dtype)
    responses = random(5, *SHAPE, dtype=dtype, seed=1)
    ridge = torch.tensor([[0.3], [2.0]], dtype=torch.float64)[:terms]
    shells = no_ridge(ridge, 1, SHAPE).shape[1]
    ridge = ridge * (torch.ones(shells) if white else 1 + torch.arange(shells) ** 2)
    u = DiagonalEquations.collect(iter(features), iter(responses)).solve(ridge)
    everywhere = features.movedim(1, -1).reshape(-1, terms)
    mean = torch.linalg.lstsq(everywhere, responses.flatten()[:, None]).solution[:, 0]
    X = torch.cat(
        [torch.stack([torch.diag(f.flatten()) for f in one], 1).flatten(1) for one in features]
    )
    P, mean = prior_matrix(ridge, dtype), mean.repeat_interleave(SAMPLES)
    expected = torch.linalg.solve(X.mH @ X + P, X.mH @ responses.flatten() + P @ mean)
    torch.testing.assert_close(u.flatten(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("terms", [1, 2])
def test_a_voxel_that_never_responds_stays_finite(terms):
    features = random(5, terms, *SHAPE)
    features[..., 0, 0] = 0
    equations = DiagonalEquations.collect(features, random(5, *SHAPE, seed=1))
    assert torch.isfinite(equations.solve(no_ridge(features, terms, SHAPE))).all()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_inner_diagonal_step_solves_the_ridge_regression(boundary, dtype, noise):
    grid = LagGrid.full(SHAPE, boundary)
    u, v = random(2, *SHAPE, dtype=dtype), random(2, *SHAPE, dtype=dtype, seed=1)
    h, nothing = random(2, *grid.lags, dtype=dtype, seed=2), no_ridge(u, 2, SHAPE)
    terms = Terms(u, h, v, torch.zeros_like(h.real), nothing, nothing)
    w, responses = random(9, *SHAPE, dtype=dtype, seed=3), random(9, *SHAPE, dtype=dtype, seed=4)
    solved = solve_inner_diagonals(
        grid, ProbeSet(w, responses), terms, noise=noise, ridge_factor=1.0, **TO_THE_END
    )
    units = torch.eye(2 * SAMPLES, dtype=dtype).reshape(-1, 2, *SHAPE)
    columns = [
        Terms(u, h, unit, h.real, nothing, nothing).factors(grid)(w).flatten() for unit in units
    ]
    X = torch.stack(columns, dim=1)
    P = prior_matrix(solved.v_ridge, dtype)
    mean = v.flatten(1).mean(1).repeat_interleave(SAMPLES)
    right = X.mH @ responses.flatten() + P @ mean
    expected = torch.linalg.solve(X.mH @ X + P, right)
    assert solved.v is not None
    torch.testing.assert_close(solved.v.flatten(), expected, rtol=1e-7, atol=1e-7)
    assert bool((solved.v_ridge > 0).all()) == (noise > 0)
