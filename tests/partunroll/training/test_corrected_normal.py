"""Exact gradients with proximal steps that solve with factors."""

import pytest
import torch
from pydantic import ValidationError

from normalfit.grid import Grid
from normalfit.operators.inpainting import Inpainting
from partunroll.configuration.network_config import PriorConfig, UnrolledConfig
from partunroll.configuration.train_config import TrainConfig
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.gradient_log import GradientLog
from partunroll.network.networks import UnrolledNetwork, data_step
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.patches.patch_normals import (
    CorrectedNormal,
    TransformedNormal,
    patch_normal,
    transformed_normal,
)
from partunroll.patches.patch_symmetry import PatchSymmetry

ETA = torch.tensor(20.0, dtype=torch.float64)


class Matrix:
    """A positive matrix on patches of 2 × 3 voxels."""

    def __init__(self, seed, share=1.0):
        draw = torch.Generator().manual_seed(seed)
        A = torch.randn(6, 6, dtype=torch.float64, generator=draw)
        self.values = share * (A.T @ A) / 10
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return (x.flatten(1) @ self.values.to(x.dtype)).reshape(x.shape)

    def to(self, device):
        return self


@pytest.fixture
def patch_problem():
    """Exact N, and a B that is half of another matrix away."""
    exact, approximate = Matrix(0), Matrix(0)
    approximate.values = approximate.values + Matrix(1, 0.5).values
    x0, g0, x = torch.randn(
        3, 2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    return PatchProblem(x0, g0, CorrectedNormal(exact, approximate)), x


def test_the_gradient_is_exact_and_the_solve_is_not(patch_problem):
    corrected, x = patch_problem
    normal = corrected.normal
    gradient = (x - corrected.initial_estimate).flatten(1) @ normal.exact.values
    gradient = gradient + corrected.initial_gradient.flatten(1)
    system = torch.eye(6, dtype=torch.float64) + ETA * normal.approximate.values
    expected = x.flatten(1) - ETA * torch.linalg.solve(system, gradient.mT).mT
    torch.testing.assert_close(data_step(x, ETA, corrected, 6).flatten(1), expected)


def test_one_product_of_the_exact_operator_per_gradient(patch_problem):
    corrected, x = patch_problem
    data_step(corrected.initial_estimate, ETA, corrected, 4)
    assert (corrected.normal.exact.calls, corrected.normal.approximate.calls) == (0, 4)
    data_step(x, ETA, corrected, 4)
    assert (corrected.normal.exact.calls, corrected.normal.approximate.calls) == (1, 8)


def test_errors_of_the_factors_do_not_move_the_solution(patch_problem):
    corrected, _ = patch_problem
    solution = torch.linalg.solve(
        corrected.normal.exact.values, -corrected.initial_gradient.flatten(1).mT
    )
    x = corrected.initial_estimate + solution.mT.reshape(corrected.initial_estimate.shape)
    torch.testing.assert_close(data_step(x, ETA, corrected, 6), x)
    by_factors = PatchProblem(
        corrected.initial_estimate, corrected.initial_gradient, corrected.normal.approximate
    )
    assert (data_step(x, ETA, by_factors, 6) - x).abs().max() > 0.1


def test_both_parts_are_turned(patch_problem):
    corrected, x = patch_problem
    turned = transformed_normal(corrected.normal, PatchSymmetry((0, 1), (0,)))
    assert isinstance(turned, CorrectedNormal)
    for found, part in (
        (turned, corrected.normal.exact),
        (turned.approximate, corrected.normal.approximate),
    ):
        expected = TransformedNormal(part, PatchSymmetry((0, 1), (0,)))(x)
        torch.testing.assert_close(found(x), expected)
        assert (found(x) - part(x)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["factors", "restricted", "corrected"])
def test_the_log_has_the_gradients_of_the_iterations(patch_problem, kind):
    corrected, _ = patch_problem
    normals = {
        "factors": corrected.normal.approximate,
        "restricted": corrected.normal.exact,
        "corrected": corrected.normal,
    }
    prior = PriorConfig(dim=2, widths=(2, 2, 2, 2))
    config = UnrolledConfig(iterations=3, initial_step_size=5.0, cg_iterations=2, prior=prior)
    network = UnrolledNetwork(config).double().eval()
    x0, g0 = corrected.initial_estimate, corrected.initial_gradient
    with torch.no_grad():
        log = GradientLog(network)
        found = network(x0, g0, log.watched(normals[kind], g0))
        problem_of_kind = PatchProblem(x0, g0, normals[kind])
        x, expected = x0, []
        for step_size in network.step_sizes:
            expected.append(float(problem_of_kind.gradient(x).norm()))
            x = network.prior(data_step(x, step_size, problem_of_kind, 2))
    torch.testing.assert_close(found, x)
    assert [square**0.5 for square in log._squares.tolist()] == pytest.approx(expected)


def test_kinds_take_what_they_are_named_after():
    operator = Inpainting(Grid((2, 3)), torch.rand(2, 3))
    approximate = Matrix(0)
    patches, restricted = (), ()
    corrected = patch_normal("corrected", operator, patches, restricted, 1.0, approximate)
    assert isinstance(corrected, CorrectedNormal)
    assert corrected.approximate is approximate
    assert patch_normal("factors", operator, patches, restricted, 1.0, approximate) is approximate
    restricted_kind = patch_normal("restricted", operator, patches, restricted, 1.0, None)
    assert type(corrected.exact) is type(restricted_kind)


def test_it_wants_proximal_steps():
    with pytest.raises(
        ValidationError, match="normal must only be corrected for networks of kind unrolled with cg"
    ):
        TrainConfig(normal="corrected")
    with pytest.raises(ValidationError, match="got kind post_processing without"):
        TrainConfig(network={"kind": "post_processing"}, normal="corrected")
    proximal = {"kind": "unrolled", "cg_iterations": 2}
    assert TrainConfig(network=proximal, normal="corrected").normal == "corrected"


def test_training_and_validation_take_it(problem, tmp_path):
    network = {
        "iterations": 2,
        "cg_iterations": 2,
        "initial_step_size": 20.0,
        "prior": {"widths": [2, 2, 2, 2]},
    }
    runs = {}
    for normal in ("corrected", "factors", "restricted"):
        values = {"steps": 3, "validation": {"every": 3, "stages": 2}, "network": network}
        runs[normal] = problem.run(tmp_path / normal, normal=normal, **values)
    kept = {name: load_checkpoint(run.output / "last.pt") for name, run in runs.items()}
    assert [kept[name].normal for name in kept] == list(kept)
    psnr = {name: run.best["psnr"] for name, run in runs.items()}
    assert psnr["corrected"] != pytest.approx(psnr["factors"], abs=1e-3)
    assert psnr["corrected"] != pytest.approx(psnr["restricted"], abs=1e-3)
