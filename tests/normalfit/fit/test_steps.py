"""The steps of least squares against direct solutions of the same dense problems."""

import pytest
import torch

from normalfit import probed_convolution
from normalfit.diagonal_step import DiagonalEquations
from normalfit.kernel_step import expected_gram, solve_kernels
from normalfit.lag_grid import LagGrid
from normalfit.probed_convolution import ProbedConvolution

SHAPE = (3, 4)
BOUNDARIES = [("linear", "linear"), ("periodic", "periodic"), ("linear", "periodic")]
DTYPES = [torch.float64, torch.complex128]


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def design_matrix(convolution, u):
    """The matrix from kernels ``(terms, *lags)`` to all responses, column by column."""
    lags = convolution.grid.lags
    columns = []
    for index in range(len(u) * torch.Size(lags).numel()):
        unit = torch.zeros(len(u) * torch.Size(lags).numel(), dtype=u.dtype)
        unit[index] = 1
        images = convolution.forward(unit.reshape(len(u), *lags))
        columns.append(torch.stack([(u * f).sum(0) for f in images]).flatten())
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("budget", [0, 2**28])
def test_probed_convolution_and_its_adjoint(boundary, dtype, budget, monkeypatch):
    monkeypatch.setattr(probed_convolution, "_SPECTRA_BYTES", budget)
    grid = LagGrid.full(SHAPE, boundary)
    w, h = random(5, *SHAPE, dtype=dtype), random(2, *grid.lags, dtype=dtype, seed=1)
    y = random(5, 2, *SHAPE, dtype=dtype, seed=2)
    convolution = ProbedConvolution(grid, w)
    forward = torch.stack(list(convolution.forward(h)))
    left = torch.vdot(y.flatten(), forward.flatten())
    right = torch.vdot(convolution.adjoint(iter(y)).flatten(), h.flatten())
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    assert convolution.energy == pytest.approx(float(w.abs().square().sum()) / 12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2])
def test_kernel_step_solves_the_ridge_regression(boundary, dtype, terms):
    grid = LagGrid.full(SHAPE, boundary)
    convolution = ProbedConvolution(grid, random(6, *SHAPE, dtype=dtype))
    responses = random(6, *SHAPE, dtype=dtype, seed=1)
    u = random(terms, *SHAPE, dtype=dtype, seed=2)
    ridge = random(terms, *grid.lags, seed=3).square() + 0.1
    X = design_matrix(convolution, u)
    weight = torch.diag(ridge.flatten()).to(dtype)
    expected = torch.linalg.solve(X.mH @ X + weight, X.mH @ responses.flatten())
    solved = solve_kernels(
        convolution,
        responses,
        u,
        torch.zeros(terms, *grid.lags, dtype=dtype),
        ridge,
        expected_gram(grid, u, convolution.energy),
        iterations=500,
        tolerance=1e-13,
    )
    torch.testing.assert_close(solved.x.flatten(), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("terms", [1, 2])
def test_expected_gram_is_exact_for_unit_vectors(boundary, terms):
    grid = LagGrid.full(SHAPE, boundary)
    u = random(terms, *SHAPE)
    convolution = ProbedConvolution(grid, torch.eye(12, dtype=torch.float64).reshape(12, *SHAPE))
    X = design_matrix(convolution, u)
    gram = expected_gram(grid, u, convolution.energy).flatten(2)
    expected = torch.zeros(terms, gram.shape[2], terms, gram.shape[2], dtype=torch.float64)
    diagonal = torch.arange(gram.shape[2])
    expected[:, diagonal, :, diagonal] = gram.movedim(2, 0)
    torch.testing.assert_close(X.T @ X, expected.reshape(X.shape[1], X.shape[1]))


def test_the_preconditioner_pays():
    """With unit vectors it is the inverse: one iteration, where plain steps need many."""
    grid = LagGrid.full(SHAPE, ("linear", "linear"))
    u = random(1, *SHAPE)
    convolution = ProbedConvolution(grid, torch.eye(12, dtype=torch.float64).reshape(12, *SHAPE))
    solved = solve_kernels(
        convolution,
        random(12, *SHAPE, seed=1),
        u,
        torch.zeros(1, *grid.lags, dtype=torch.float64),
        torch.zeros(1, *grid.lags, dtype=torch.float64),
        expected_gram(grid, u, convolution.energy),
        iterations=5,
        tolerance=1e-6,
    )
    assert solved.iterations == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2])
def test_diagonal_step_solves_each_voxel(dtype, terms):
    features = random(5, terms, *SHAPE, dtype=dtype)
    responses = random(5, *SHAPE, dtype=dtype, seed=1)
    ridge = torch.tensor([0.3, 2.0], dtype=torch.float64)[:terms]
    u = DiagonalEquations.collect(iter(features), iter(responses)).solve(ridge)
    everywhere = features.movedim(1, -1).reshape(-1, terms)
    mean = torch.linalg.lstsq(everywhere, responses.flatten()[:, None]).solution[:, 0]
    for voxel in torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist():
        F, r = features[(..., *voxel)], responses[(..., *voxel)]
        weight = torch.diag(ridge).to(dtype)
        expected = torch.linalg.solve(F.mH @ F + weight, F.mH @ r + weight @ mean)
        torch.testing.assert_close(u[(..., *voxel)], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("terms", [1, 2])
def test_a_voxel_that_never_responds_stays_finite(terms):
    features = random(5, terms, *SHAPE)
    features[..., 0, 0] = 0
    equations = DiagonalEquations.collect(features, random(5, *SHAPE, seed=1))
    assert torch.isfinite(equations.solve(torch.zeros(terms, dtype=torch.float64))).all()
