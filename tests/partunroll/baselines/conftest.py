"""A dense operator on a tiny grid, whose truths linear algebra knows."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator
from partunroll.baselines.problem import Problem

SHAPE = (6, 5, 4)
COUNT = 90  # measurements, of 120 voxels


@dataclass(frozen=True)
class Dense:
    """A problem and its matrix in double precision."""

    matrix: np.ndarray
    truth: np.ndarray
    problem: Problem

    @property
    def normal(self):
        """``AᵀA``, divided by its norm."""
        return self.matrix.conj().T @ self.matrix / self.problem.norm

    @property
    def backprojection(self):
        """``Aᵀy``, divided by the norm of ``AᵀA``."""
        y = self.problem.y.numpy().astype(self.matrix.dtype)
        return self.matrix.conj().T @ y / self.problem.norm

    def assert_is(self, x, expected, tolerance=1e-4):
        expected = expected.reshape(SHAPE)
        error = np.linalg.norm(x.numpy() - expected) / np.linalg.norm(expected)
        assert error < tolerance


def dense(*, is_complex=False, noise=0.05):
    rng = np.random.default_rng(0)

    def drawn(*shape):
        values = rng.standard_normal(shape)
        return values + 1j * rng.standard_normal(shape) if is_complex else values

    matrix = drawn(COUNT, int(np.prod(SHAPE)))
    truth = np.zeros(SHAPE, matrix.dtype)
    truth[1:5, 1:4, 1:3] = 1
    if is_complex:
        truth[2:4] *= 1j
    y = matrix @ truth.ravel() + noise * drawn(COUNT)
    dtype = torch.complex64 if is_complex else torch.float32
    A = torch.from_numpy(matrix).to(dtype)
    operator = FunctionOperator(
        Grid(SHAPE),
        Grid((COUNT,)),
        lambda x: A @ x.flatten(),
        lambda y: (A.conj().T @ y).reshape(SHAPE),
        is_complex=is_complex,
    )
    norm = float(np.linalg.norm(matrix, 2) ** 2)
    start = torch.zeros(SHAPE, dtype=dtype)
    return Dense(matrix, truth, Problem(operator, torch.from_numpy(y).to(dtype), norm, start))


@pytest.fixture(scope="session")
def real():
    return dense()


@pytest.fixture(scope="session")
def complex_():
    return dense(is_complex=True)
