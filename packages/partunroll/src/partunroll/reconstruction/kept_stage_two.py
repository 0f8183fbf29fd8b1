"""refine_kept: stage 2 in memory, whose result is kept on disk as it is completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partunroll.network.gradient_log import GradientLog
from partunroll.reconstruction.stage_two import patch_solver, refine_patches
from partunroll.reconstruction.stored_blend import blend_to_disk
from partunroll.reconstruction.work_folder import REFINED

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from partunroll.network.iteration import Iteration
    from partunroll.network.networks import Network
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.windows import BlendWindows
    from partunroll.ranks import Ranks
    from partunroll.reconstruction.volume_problem import VolumeProblem
    from partunroll.reconstruction.work_folder import WorkFolder


def refine_kept(
    network: Network,
    problem: VolumeProblem,
    context: torch.Tensor,
    residual_backprojection: torch.Tensor,
    windows: BlendWindows,
    *,
    normal: PatchNormalKind,
    batch: int,
    progress: Progress | None,
    work: WorkFolder | None,
    ranks: Ranks,
) -> tuple[torch.Tensor, tuple[Iteration, ...]]:
    """Return the refined volume and the iterations on patches.

    Parameters
    ----------
    network, problem, context, residual_backprojection, windows, normal, batch, progress, ranks
        As for `refine_patches`.
    work
        Where planes are kept that no later patch meets, so that a killed process goes on behind
        them; None keeps nothing.

    Raises
    ------
    InputError
        As `refine_patches`; with `work` also where the planes are not finite.
    """
    log, volumes = GradientLog(network), (context, residual_backprojection)
    options: dict[str, Any] = {"normal": normal, "progress": progress, "log": log, "ranks": ranks}
    if work is None:
        final = refine_patches(network, problem, *volumes, windows, batch=batch, **options)
        return final, log.history(log.take(ranks))
    device = context.device
    if work.finished(REFINED) is None:
        solve = patch_solver(network, problem, *volumes, windows, **options)
        squares = blend_to_disk(solve, windows, work, REFINED, device=device, batch=batch, log=log)
        work.finish(REFINED, squares=squares)
    return work.load(REFINED, device), log.history((work.finished(REFINED) or {})["squares"])
