"""PnP-PGD and DPIR: with linear denoisers against linear algebra, and against deepinv's loops."""

import numpy as np
import pytest
import torch

from partunroll.baselines.plug_and_play import geometric, hqs, pnp_pgd
from partunroll.errors import NotFiniteError

IDENTITY = np.eye(120)


def smoother():
    """A symmetric matrix with eigenvalues in (0, 1]."""
    rng = np.random.default_rng(1)
    Q, _ = np.linalg.qr(rng.standard_normal((120, 120)))
    return Q @ np.diag(rng.uniform(0.05, 1, 120)) @ Q.T


def linear(matrix, shape=(6, 5, 4)):
    M = torch.from_numpy(matrix)

    def denoise(x, noise_level):
        return (M.to(x.dtype) @ x.flatten()).reshape(shape)

    return denoise


@pytest.mark.parametrize("name", ["real", "complex_"])
def test_pnp_with_a_linear_denoiser_reaches_its_fixed_point(name, request):
    """x = V (x − η (N x − b)), V = (1 − γ) I + γ W, so (I − V (I − η N)) x = η V b."""
    dense = request.getfixturevalue(name)
    step, relaxation, W = 1.3, 0.6, smoother()
    x = pnp_pgd(
        dense.problem,
        linear(W),
        noise_level=0.1,
        step=step,
        relaxation=relaxation,
        iterations=400,
    )
    V = (1 - relaxation) * IDENTITY + relaxation * W
    left = IDENTITY - V @ (IDENTITY - step * dense.normal)
    dense.assert_is(x, np.linalg.solve(left, step * V @ dense.backprojection))


def test_pnp_without_relaxation_of_the_data_step_is_gradient_descent(real):
    x = pnp_pgd(real.problem, linear(smoother()), noise_level=0.1, relaxation=0, iterations=3)
    expected = np.zeros(120)
    for _ in range(3):
        expected = expected - (real.normal @ expected - real.backprojection)
    real.assert_is(x, expected)


def test_the_noise_level_reaches_the_denoiser(real):
    seen = []

    def denoise(x, noise_level):
        seen.append(noise_level)
        return x

    pnp_pgd(real.problem, denoise, noise_level=0.07, iterations=2)
    hqs(real.problem, denoise, noise_levels=(0.4, 0.1), iterations=3)
    assert seen == [0.07, 0.07, 0.4, pytest.approx(0.2), pytest.approx(0.1)]
    assert geometric((0.4, 0.1), 1) == [0.1]


@pytest.mark.parametrize("name", ["real", "complex_"])
def test_hqs_with_a_quadratic_prior_reaches_the_dense_solution(name, request):
    """z = (I + γN)⁻¹ (x + γ b), x = W z: the solution of ((I + γN) W⁻¹ − I) x = γ b."""
    dense = request.getfixturevalue(name)
    W, gamma = smoother(), 1 / 0.5
    x = hqs(
        dense.problem,
        linear(W),
        noise_levels=(0.1, 0.1),
        regularization=0.5,
        iterations=150,
        cg_iterations=60,
    )
    left = (IDENTITY + gamma * dense.normal) @ np.linalg.inv(W) - IDENTITY
    dense.assert_is(x, np.linalg.solve(left, gamma * dense.backprojection), 1e-3)


def test_a_diverging_iteration_is_said(real):
    with pytest.raises(NotFiniteError, match="lower step"):
        pnp_pgd(real.problem, lambda x, _: 1e9 * x, noise_level=0.1, iterations=20)


@pytest.fixture(scope="module")
def physics(real):
    """The operator as deepinv has it, with norm 1."""
    from deepinv.physics import LinearPhysics

    operator, scale = real.problem.operator, real.problem.norm**-0.5
    return LinearPhysics(
        A=lambda x, **_: scale * operator.forward(x[:, 0]),
        A_adjoint=lambda y, **_: scale * operator.adjoint(y)[:, None],
        img_size=(1, 6, 5, 4),
        max_iter=100,
        tol=1e-7,
    )


class Shrinking(torch.nn.Module):
    """A denoiser that is not linear: towards a smooth image, more so with more noise."""

    def forward(self, x, sigma, **_):
        smooth = (x + x.roll(1, -1) + x.roll(1, -2)) / 3
        return smooth + torch.tanh((x - smooth) / 0.3) * (0.3 - sigma)

    def on_volumes(self, x, sigma):
        return self(x[None, None], sigma)[0, 0]


def test_pnp_is_deepinvs_proximal_gradient(real, physics):
    from deepinv.optim import L2, PGD, PnP

    denoiser = Shrinking()

    class Relaxed(torch.nn.Module):
        def forward(self, x, sigma, **_):
            return 0.4 * x + 0.6 * denoiser(x, sigma)

    loop = PGD(
        data_fidelity=L2(), prior=PnP(Relaxed()), stepsize=0.9, sigma_denoiser=0.1, max_iter=12,
        custom_init=lambda y, physics: torch.zeros(1, 1, 6, 5, 4),
    )  # fmt: skip
    expected = loop(real.problem.y[None] * real.problem.norm**-0.5, physics)[0, 0]
    x = pnp_pgd(
        real.problem, denoiser.on_volumes, noise_level=0.1, step=0.9, relaxation=0.6, iterations=12
    )
    torch.testing.assert_close(x, expected.detach(), rtol=1e-4, atol=1e-5)


def test_hqs_is_deepinvs_dpir(real, physics):
    from deepinv.optim import DPIR

    denoiser = Shrinking()
    loop = DPIR(sigma=0.05, denoiser=denoiser)
    y = real.problem.y[None] * real.problem.norm**-0.5
    expected = loop(y, physics, init=torch.zeros(1, 1, 6, 5, 4))[0, 0]
    x = hqs(real.problem, denoiser.on_volumes, noise_levels=(49 / 255, 0.05), cg_iterations=100)
    torch.testing.assert_close(x, expected.detach(), rtol=1e-3, atol=1e-4)
