"""refine_stored: stage 2 of the reconstruction of a volume that stays on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import Progress

from partunroll.network.gradient_log import GradientLog
from partunroll.patches.patch_normal import needs_factors
from partunroll.reconstruction.stage_two import solve_patches
from partunroll.reconstruction.stored_blend import blend_to_disk
from partunroll.reconstruction.work_folder import REFINED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from normalfit.grid import Patch
    from partunroll.network.iteration import Iteration
    from partunroll.network.networks import Network
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.stored_problem import StoredProblem
    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume

BACKPROJECTION = "residual_backprojection"


def refine_stored(
    network: Network,
    problem: StoredProblem,
    context: StoredVolume,
    windows: BlendWindows,
    work: WorkFolder,
    *,
    normal: PatchNormalKind = "factors",
    batch: int = 1,
    progress: Progress | None = None,
) -> tuple[StoredVolume, tuple[Iteration, ...], float]:
    """Return the refined volume, the iterations on patches, and ``‖y − A x̂‖ / ‖y‖``.

    As `refine_patches` does, and resumed as `unroll_stored` is.

    Parameters
    ----------
    network, windows, normal, batch, progress
        As for `refine_patches`.
    problem
        The reconstruction's.
    context
        ``x̂``.
    work
        Where the volumes are, and what of them is finished.

    Raises
    ------
    InputError
        There are no factors for a kind that needs them.
    """
    progress = progress or Progress(disable=True)
    task = progress.add_task("stage 2", total=len(windows.patches))
    if work.finished(BACKPROJECTION) is None:
        work.finish(BACKPROJECTION, **_backproject(problem, context, work))
    log, device = GradientLog(network), problem.measurements.device
    volumes = (problem.initial_estimate, context, work.volume(BACKPROJECTION))

    def solve(patches: Sequence[Patch], is_logged: bool) -> torch.Tensor:
        approximate = problem.restricted_factors(patches) if needs_factors(normal) else None
        parts = [volume.extract(patches, device) for volume in volumes]
        progress.advance(task, len(patches) * work.ranks.size)
        watch = log if is_logged else None
        return solve_patches(
            network, problem.operator, problem.norm, patches, (parts[0], parts[1], parts[2]),
            normal, approximate, watch,
        )  # fmt: skip

    if work.finished(REFINED) is None:
        squares = blend_to_disk(solve, windows, work, REFINED, device=device, batch=batch, log=log)
        work.finish(REFINED, squares=squares)
    facts = work.finished(REFINED) or {}
    norm = (work.finished(BACKPROJECTION) or {})["residual_norm"]
    return work.volume(REFINED), log.history(facts["squares"]), norm


def _backproject(
    problem: StoredProblem, context: StoredVolume, work: WorkFolder
) -> dict[str, float]:
    """Write ``r̂ = A*(y − A x̂)``."""
    if not work.ranks.is_first:
        return {}
    residual = problem.residual(context)
    writer = work.writer(BACKPROJECTION)
    for _, slab in problem.adjoint(residual):
        writer.write(slab)
    return {"residual_norm": problem.relative_norm(residual)}
