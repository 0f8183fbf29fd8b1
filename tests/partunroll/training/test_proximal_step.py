"""The proximal data step against dense solutions, and networks that use it."""

import pytest
import torch
from pydantic import ValidationError

from normalfit.grid import Grid
from normalfit.operators.inpainting import Inpainting
from partunroll.configuration.train_config import PriorConfig, UnrolledConfig
from partunroll.network.networks import UnrolledNetwork, data_step
from partunroll.network.proximal_step import proximal_direction
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.reconstruction.stage_one import unroll_volume
from partunroll.reconstruction.volume_problem import VolumeProblem


def positive(dtype, n=6):
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(n, n, dtype=dtype, generator=draw)
    return A.mH @ A / 10


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_it_solves_for_every_entry_of_a_batch(dtype):
    B, step_size = positive(dtype), torch.tensor(0.7, dtype=torch.float64)
    g = torch.randn(3, 2, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    g[1] = 0  # converged already
    found = proximal_direction(lambda x: (x.flatten(1) @ B.T).reshape(x.shape), g, step_size, 6)
    solved = torch.linalg.solve(torch.eye(6, dtype=dtype) + 0.7 * B, g.flatten(1).mT).mT
    torch.testing.assert_close(found.flatten(1), solved)


def test_without_iterations_it_is_the_gradient():
    g = torch.randn(2, 4)
    assert proximal_direction(lambda x: 2 * x, g, torch.tensor(1.0), 0) is g


def test_gradients_pass_the_numerical_check():
    B = positive(torch.float64, 4)
    g = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    eta = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda g, eta: proximal_direction(lambda x: x @ B.T, g, eta, 3), (g, eta)
    )


def test_a_proximal_step_minimises_data_term_and_distance():
    B = positive(torch.float64, 4)
    x0, g0, x = torch.randn(3, 1, 4, dtype=torch.float64)
    problem = PatchProblem(x0, g0, lambda v: v @ B.T)
    eta = torch.tensor(5.0, dtype=torch.float64)
    u = data_step(x, eta, problem, 4)
    torch.testing.assert_close(problem.gradient(u) + (u - x) / eta, torch.zeros_like(u))


def test_the_network_learns_any_positive_step_size():
    prior = PriorConfig(dim=2, widths=(2, 2, 2, 2))
    config = UnrolledConfig(iterations=2, initial_step_size=30.0, cg_iterations=3, prior=prior)
    network = UnrolledNetwork(config)
    torch.testing.assert_close(network.step_sizes, torch.full((2,), 30.0))
    x = torch.randn(1, 8, 8)
    network(x, torch.randn_like(x), lambda v: 0.5 * v).sum().backward()
    assert network.step_size_logits.grad is not None
    assert network.step_size_logits.grad.abs().min() > 0


def test_large_steps_are_refused_for_gradient_steps():
    with pytest.raises(ValidationError, match="below 2 for gradient steps"):
        UnrolledConfig(initial_step_size=2.0)


def test_stage_one_takes_the_same_steps_on_the_whole_volume():
    operator = Inpainting(Grid((8, 9)), torch.rand(8, 9))
    y, x0 = torch.rand(8, 9), torch.rand(8, 9)
    prior = PriorConfig(dim=2, widths=(2, 2, 2, 2))
    config = UnrolledConfig(iterations=2, initial_step_size=30.0, cg_iterations=3, prior=prior)
    network = UnrolledNetwork(config).eval()
    problem = VolumeProblem(operator, y, x0, norm=0.5)
    gradient = -operator.adjoint(problem.residual(x0)) / 0.5
    with torch.no_grad():
        x, _ = unroll_volume(network, problem, overlapping_windows((8, 9), (8, 9), 0))
        expected = network(x0[None], gradient[None], lambda v: operator.normal(v) / 0.5)[0]
    torch.testing.assert_close(x, expected)
