"""UnrolledNetwork, PostProcessingNetwork and DenoisingNetwork: what is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from partunroll.configuration.network_config import (
    LARGEST_STEP_SIZE,
    DenoisingConfig,
    UnrolledConfig,
)
from partunroll.network.prior import DRUNetPrior
from partunroll.network.proximal_step import proximal_direction
from partunroll.patches.patch_gradient import PatchProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.configuration.network_config import NetworkConfig, PostProcessingConfig


class UnrolledNetwork(nn.Module):
    """Proximal-gradient unrolling with tied weights (paper, eq. 4): ``x ← D(x − η_k g(x))``.

    Gradients are in units in which the spectral norm of ``A*A`` is 1, so a step size means the
    same for every operator. Step sizes are learned in (0, 2), where a gradient step expands
    nothing. A patch meets eigenvalues far below 1 only, so training sees no harm in larger ones,
    but on the whole volume they blow up the lowest frequencies (patches of 32³ in 96³, cone beam:
    from 2.5 on, stage 1 raised the residual tenfold in three iterations). With `cg_iterations` the
    steps are proximal ones (remark 4.1), stable for every positive step size; MRI wants them, whose
    spectrum gradient steps are slow on.

    With `checkpointing` set, the backward pass computes the activations of one iteration at a time
    again, instead of keeping those of all: memory of one iteration, a forward pass more, and the
    same gradients.

    Parameters
    ----------
    config
        Number of iterations, initial step size, kind of steps, prior.
    """

    def __init__(self, config: UnrolledConfig) -> None:
        super().__init__()
        self.prior = DRUNetPrior(config.prior)
        self.cg_iterations = config.cg_iterations
        self.checkpointing = False
        initial = torch.full((config.iterations,), config.initial_step_size)
        if self.cg_iterations:
            self.step_size_logits = nn.Parameter(initial.log())
        else:
            self.step_size_logits = nn.Parameter((initial / LARGEST_STEP_SIZE).logit())

    @property
    def step_sizes(self) -> torch.Tensor:
        """The learned step sizes η, one per iteration; in (0, 2) for gradient steps."""
        if self.cg_iterations:
            return self.step_size_logits.exp()
        return LARGEST_STEP_SIZE * self.step_size_logits.sigmoid()

    def forward(
        self,
        initial_estimate: torch.Tensor,
        initial_gradient: torch.Tensor,
        normal: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return the reconstruction of a batch of patches (or whole volumes).

        Parameters
        ----------
        initial_estimate
            ``x0``, ``(batch, *p)``; the iteration starts there.
        initial_gradient
            ``g0``, the exact gradient at x0, divided by the operator's norm.
        normal
            ``B`` or ``N``, divided by the operator's norm; the network cannot tell which.
        """
        problem = PatchProblem(initial_estimate, initial_gradient, normal)
        x = initial_estimate
        for step_size in self.step_sizes:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(self._iteration, x, step_size, problem, use_reentrant=False)
            else:
                x = self._iteration(x, step_size, problem)
        return x

    def _iteration(
        self, x: torch.Tensor, step_size: torch.Tensor, problem: PatchProblem
    ) -> torch.Tensor:
        """Return ``D(x − η g(x))``."""
        return self.prior(data_step(x, step_size, problem, self.cg_iterations))


class PostProcessingNetwork(nn.Module):
    """The prior alone, ``D(x0)``: what unrolling is compared with.

    It is an unrolling of one iteration whose step size is zero.
    """

    step_sizes: torch.Tensor
    cg_iterations = 0
    checkpointing = False  # there is one iteration

    def __init__(self, config: PostProcessingConfig) -> None:
        super().__init__()
        self.prior = DRUNetPrior(config.prior)
        self.register_buffer("step_sizes", torch.zeros(1), persistent=False)

    def forward(
        self,
        initial_estimate: torch.Tensor,
        initial_gradient: torch.Tensor,  # noqa: ARG002 - one call signature for both networks
        normal: Callable[[torch.Tensor], torch.Tensor],  # noqa: ARG002
    ) -> torch.Tensor:
        """Return ``D(x0)`` for ``(batch, *p)``; measurements play no part."""
        return self.prior(initial_estimate)


class DenoisingNetwork(nn.Module):
    """A denoiser of Gaussian noise, ``D_σ(x)``: the prior, told the noise level of every patch."""

    step_sizes: torch.Tensor
    cg_iterations = 0
    checkpointing = False  # there is one iteration

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__()
        self.prior = DRUNetPrior(config.prior)
        self.register_buffer("step_sizes", torch.zeros(0), persistent=False)

    def forward(self, x: torch.Tensor, noise_levels: torch.Tensor) -> torch.Tensor:
        """Return ``D_σ(x)`` of noisy patches ``(batch, *p)`` with levels σ, ``(batch,)``."""
        return self.prior(x, noise_levels)


Network = UnrolledNetwork | PostProcessingNetwork | DenoisingNetwork


def build_network(config: NetworkConfig) -> Network:
    """Return the network that a configuration describes, with fresh weights from torch's RNG."""
    if isinstance(config, UnrolledConfig):
        return UnrolledNetwork(config)
    if isinstance(config, DenoisingConfig):
        return DenoisingNetwork(config)
    return PostProcessingNetwork(config)


def data_step(
    x: torch.Tensor, step_size: torch.Tensor, problem: PatchProblem, cg_iterations: int = 0
) -> torch.Tensor:
    """Return ``x − η (I + ηB)⁻¹ g(x)``, B the problem's solver; without CG ``x − η g(x)``.

    In float32, whatever autocast says: FFTs have no half precision.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        gradient = problem.gradient(x)
        return x - step_size * proximal_direction(
            problem.solver, gradient, step_size, cg_iterations
        )
