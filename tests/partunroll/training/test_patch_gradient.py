"""Equation (3) is the gradient of the patch problem; (3') is (3) for B = N and leaks nothing."""

from functools import partial

import pytest
import torch

from normalfit.grid import Grid, Patch
from normalfit.linear_operator import FunctionOperator, LinearOperator
from normalfit.specs import spec_from_document
from partunroll.patches.patch_gradient import PatchProblem, exact_gradient, initial_gradient


def dense() -> LinearOperator:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(70, 120, generator=generator, dtype=torch.float64)
    return FunctionOperator(
        Grid((6, 5, 4)),
        Grid((70,)),
        lambda x: matrix @ x.flatten(),
        lambda y: (matrix.T @ y).reshape(6, 5, 4),
    )


def cone_beam() -> LinearOperator:
    keys = {
        "kind": "cone_beam",
        "volume_shape": [6, 5, 5],
        "voxel_mm": 1.0,
        "detector_shape": [9, 8],
        "pixel_mm": 1.5,
        "source_origin_mm": 20.0,
        "origin_detector_mm": 10.0,
        "num_views": 7,
        "backend": "numba",
    }
    return spec_from_document(keys, {}).build()


def parallel_beam() -> LinearOperator:
    keys = {
        "kind": "parallel_beam",
        "volume_shape": [6, 7],
        "pixel_mm": 1.0,
        "num_columns": 11,
        "num_views": 8,
        "backend": "numba",
    }
    return spec_from_document(keys, {}).build()


CASES = [
    (dense, Patch((1, 0, 2), (3, 4, 2))),
    (dense, Patch((0, 0, 0), (6, 5, 4))),
    (cone_beam, Patch((3, 2, 1), (3, 2, 4))),
    (cone_beam, Patch((0, 0, 2), (4, 3, 3))),
    (parallel_beam, Patch((1, 4), (3, 3))),
]


class PatchOfVolume:
    """Measurements of a known volume, and one patch of it."""

    def __init__(self, operator, patch, shift=0.0):
        generator = torch.Generator().manual_seed(1)

        def random(shape):
            return torch.rand(shape, generator=generator, dtype=torch.float64)

        self.operator, self.patch = operator, patch
        self.truth = random(operator.domain.shape) + shift
        self.measurements = operator.forward(self.truth) + random(operator.range.shape)
        residual = self.measurements - operator.forward(self.truth)
        self.truth_patch = patch.extract(self.truth)
        self.residual_patch = patch.extract(operator.adjoint(residual))
        self.restricted = operator.restricted(patch)
        self.x0, self.x = random(patch.shape), random(patch.shape)

    def true_gradient(self, x):
        """Autograd through ½‖A(Pᵀ x_p + (I − PᵀP) x*) − y‖²."""
        x = x.clone().requires_grad_()
        context = self.truth.clone()
        self.patch.extract(context).zero_()
        volume = self.patch.embed(x, self.operator.domain.shape) + context
        misfit = self.operator.forward(volume) - self.measurements
        (0.5 * misfit.square().sum()).backward()
        return x.grad

    def initial_gradient(self):
        return initial_gradient(self.restricted, self.x0, self.truth_patch, self.residual_patch)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1].offset}")
def problem(request):
    build, patch = request.param
    return PatchOfVolume(build(), patch)


def test_exact_gradient_is_the_gradient_of_the_patch_problem(problem):
    gradient = exact_gradient(
        problem.restricted, problem.x, problem.truth_patch, problem.residual_patch
    )
    torch.testing.assert_close(gradient, problem.true_gradient(problem.x))


def test_initial_gradient_is_the_true_gradient_at_the_initial_estimate(problem):
    torch.testing.assert_close(problem.initial_gradient(), problem.true_gradient(problem.x0))


def test_linearised_gradient_with_the_exact_normal_is_the_true_gradient(problem):
    linearised = PatchProblem(problem.x0, problem.initial_gradient(), problem.restricted.normal)
    torch.testing.assert_close(linearised.gradient(problem.x), problem.true_gradient(problem.x))


def test_no_factors_reach_the_gradient_at_the_initial_estimate(problem):
    """The truth enters through N alone: with x_p = x0_p any B gives the same gradient."""
    g0 = problem.initial_gradient()
    for scale in (0.0, 1.0, -3.0):
        linearised = PatchProblem(problem.x0, g0, partial(torch.mul, torch.tensor(scale)))
        assert torch.equal(linearised.gradient(problem.x0), g0)


def test_change_of_the_truth_is_seen_through_the_true_operator_only(problem):
    """Between two truths the gradient changes by N times their difference, whatever B is."""
    shifted = PatchOfVolume(problem.operator, problem.patch, shift=1.0)
    expected = -problem.restricted.normal(torch.ones_like(problem.x))
    for scale in (0.0, 2.0):
        b = partial(torch.mul, torch.tensor(scale))
        before, after = (
            PatchProblem(p.x0, p.initial_gradient(), b).gradient(p.x) for p in (problem, shifted)
        )
        torch.testing.assert_close(after - before, expected)
