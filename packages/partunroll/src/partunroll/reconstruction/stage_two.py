"""refine_patches: stage 2 of the reconstruction (paper, algorithm 1; design §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from normalfit.restriction import restrict_batch
from partunroll.patches.blended_patches import blend_patches, extract
from partunroll.patches.patch_gradient import initial_gradient
from partunroll.patches.patch_normal import needs_factors
from partunroll.patches.patch_normals import patch_normal
from partunroll.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator
    from partunroll.network.gradient_log import GradientLog
    from partunroll.network.networks import Network
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.patch_normals import PatchNormal
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.volume_problem import VolumeProblem


def refine_patches(
    network: Network,
    problem: VolumeProblem,
    context: torch.Tensor,
    residual_backprojection: torch.Tensor,
    windows: BlendWindows,
    *,
    normal: PatchNormalKind = "factors",
    batch: int = 1,
    progress: Progress | None = None,
    log: GradientLog | None = None,
    ranks: Ranks = ALONE,
) -> torch.Tensor:
    """Return the volume of which every patch was solved with ``x̂`` as its context.

    The problem of a patch is (3') with ``x̂`` in the place of the truth. It starts at the
    initial estimate, as in training: the network has not seen other starts (prototype: 29.4 dB
    from ``x̂``, 33.2 from the initial estimate). Each patch costs one forward and one adjoint of
    ``A Pᵀ``, and nothing of a volume's size.

    Parameters
    ----------
    network
        Called on batches of patches.
    problem
        The reconstruction's.
    context, residual_backprojection
        ``x̂`` and ``r̂ = A*(y − A x̂)``.
    windows
        The patches and their windows.
    normal
        What the iterations on a patch apply, ``P B Pᵀ`` or ``P N Pᵀ``, the latter by the rays
        that meet the patch or on the whole volume, or each where it serves; as in training.
    batch
        Patches that are solved together.
    progress
        Where to show a bar.
    log
        What adds up the norms of the gradients.
    ranks
        The processes that share the batches.

    Raises
    ------
    InputError
        There are no factors for a kind that needs them.
    """
    solve = patch_solver(
        network,
        problem,
        context,
        residual_backprojection,
        windows,
        normal=normal,
        progress=progress,
        log=log,
        ranks=ranks,
    )
    return blend_patches(solve, windows, problem.initial_estimate, batch, ranks)


def patch_solver(
    network: Network,
    problem: VolumeProblem,
    context: torch.Tensor,
    residual_backprojection: torch.Tensor,
    windows: BlendWindows,
    *,
    normal: PatchNormalKind = "factors",
    progress: Progress | None = None,
    log: GradientLog | None = None,
    ranks: Ranks = ALONE,
) -> Callable[..., torch.Tensor]:
    """Return what maps a batch of patches to their voxels; parameters as for `refine_patches`.

    A second argument says whether the patches are logged.

    Raises
    ------
    InputError
        There are no factors for a kind that needs them.
    """
    progress = progress or Progress(disable=True)
    task = progress.add_task("stage 2", total=len(windows.patches))
    factors = problem.scaled_factors if needs_factors(normal) else None
    volumes = (problem.initial_estimate, context, residual_backprojection)

    def solve(patches: Sequence[Patch], is_logged: bool = True) -> torch.Tensor:
        x0, x_hat, r_hat = (extract(volume, patches) for volume in volumes)
        approximate = None if factors is None else restrict_batch(factors, patches)
        progress.advance(task, len(patches) * ranks.size)
        watch = log if is_logged else None
        return solve_patches(
            network, problem.operator, problem.norm, patches, (x0, x_hat, r_hat), normal,
            approximate, watch,
        )  # fmt: skip

    return solve


def solve_patches(
    network: Network,
    operator: LinearOperator,
    norm: float,
    patches: Sequence[Patch],
    parts: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    kind: PatchNormalKind,
    approximate: PatchNormal | None,
    log: GradientLog | None = None,
) -> torch.Tensor:
    """Return a batch of patches, ``(batch, *p)``, each solved for itself.

    Parameters
    ----------
    network, operator, norm, log
        As for `refine_patches`.
    patches
        Where they are.
    parts
        ``x0``, ``x̂`` and ``r̂`` there, ``(batch, *p)`` each.
    kind
        What the iterations apply.
    approximate
        ``P_i B P_iᵀ``, divided by the norm, for the kinds that need factors.
    """
    restricted = tuple(operator.restricted(patch) for patch in patches)
    items = zip(restricted, *parts, strict=True)
    gradient = torch.stack([initial_gradient(*item) for item in items]) / norm
    normal = patch_normal(kind, operator, patches, restricted, norm, approximate)
    return network(parts[0], gradient, log.watched(normal, gradient) if log else normal)
