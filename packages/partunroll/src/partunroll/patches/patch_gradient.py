"""The gradient of the data term when one patch is unknown and the rest is context (paper, eq. 13).

With ground truth ``x*``, measurements ``y`` and ``r = A*(y − A x*)``, the patch problem is
``min ½‖A(Pᵀ x_p + (I − PᵀP) x*) − y‖²``. Its gradient is `exact_gradient`. With factors ``B`` in
place of ``N`` that form would hand the network ``B P x*``: clean data about the target, which
nothing supplies at test time. So training linearises at the initial estimate (`PatchProblem`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partunroll.patches.patch_normals import CorrectedNormal

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from normalfit.linear_operator import LinearOperator


def exact_gradient(
    restricted: LinearOperator,
    x: torch.Tensor,
    context: torch.Tensor,
    residual_backprojection: torch.Tensor,
) -> torch.Tensor:
    """Return ``P N Pᵀ (x_p − P x*) − P r`` (design eq. 3); costs one forward and one adjoint.

    Parameters
    ----------
    restricted
        ``A Pᵀ``, from ``operator.restricted(patch)``.
    x
        The patch ``x_p``, ``(..., *patch)``.
    context
        The same patch of the volume that is the context: ``P x*`` in training, ``P x̂`` in
        stage 2 of the reconstruction.
    residual_backprojection
        The same patch of ``r = A*(y − A x*)``, with the context in the place of ``x*``.
    """
    return restricted.normal(x - context) - residual_backprojection


def initial_gradient(
    restricted: LinearOperator,
    initial_estimate: torch.Tensor,
    context: torch.Tensor,
    residual_backprojection: torch.Tensor,
) -> torch.Tensor:
    """Return ``g0``: the exact gradient at the initial estimate, for `PatchProblem`."""
    return exact_gradient(restricted, initial_estimate, context, residual_backprojection)


@dataclass(frozen=True, eq=False)
class PatchProblem:
    """The data term of a patch, linearised at the initial estimate (design eq. 3').

    Parameters
    ----------
    initial_estimate
        ``x0_p``, ``(..., *patch)``.
    initial_gradient
        ``g0``, the exact gradient there; no part of it comes from factors.
    normal
        ``B_p``: restricted factors, or the normal operator of ``A Pᵀ``, with which (3') is (3);
        a `CorrectedNormal` is the latter, and brings the former for `solver`.
    """

    initial_estimate: torch.Tensor
    initial_gradient: torch.Tensor
    normal: Callable[[torch.Tensor], torch.Tensor]

    @property
    def solver(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """What proximal steps solve with: `normal`, or the factors of a corrected one."""
        normal = self.normal
        return normal.approximate if isinstance(normal, CorrectedNormal) else normal

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``B_p (x_p − x0_p) + g0``."""
        if x is self.initial_estimate:
            return self.initial_gradient
        return self.normal(x - self.initial_estimate) + self.initial_gradient
