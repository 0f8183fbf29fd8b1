"""reconstruct_stored: both stages of a reconstruction whose volumes stay on disk."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Literal

import torch

from partunroll.patches.patch_normal import needs_factors, patch_normal_kind
from partunroll.reconstruction.reconstruction_result import Reconstruction
from partunroll.reconstruction.stored_stage_one import unroll_stored
from partunroll.reconstruction.stored_stage_two import refine_stored

if TYPE_CHECKING:
    from rich.progress import Progress

    from partunroll.network.iteration import Iteration
    from partunroll.network.networks import Network
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.stored_problem import StoredProblem
    from partunroll.reconstruction.volume_problem import Normal
    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume


@torch.no_grad()
def reconstruct_stored(
    network: Network,
    problem: StoredProblem,
    windows: BlendWindows,
    work: WorkFolder,
    *,
    stages: Literal[1, 2] = 2,
    patch_normal: PatchNormalKind | Literal["exact"] = "factors",
    normal: Normal = "exact",
    refresh: int = 1,
    batch: int = 2,
    progress: Progress | None = None,
) -> Reconstruction[StoredVolume]:
    """Reconstruct a volume that does not fit into memory; as `reconstruct`, up to rounding.

    In memory are the measurements (twice), one strip of patches as long as the volume, a batch of
    patches and a slab of the operator or of the factors. On disk are up to seven volumes, up to
    twelve where the network has proximal steps.

    Parameters
    ----------
    network
        In evaluation mode, on the device of the measurements.
    problem
        Operator, measurements, initial estimate and factors.
    windows
        The patches and their windows.
    work
        Where the volumes are; what is finished in it is not computed again.
    stages, patch_normal, normal, refresh, batch, progress
        As for `reconstruct`, checked.

    Raises
    ------
    InputError
        Factors are asked for and not given, or the result is not finite.
    """
    patch_normal = patch_normal_kind(patch_normal)
    if normal == "factors" or (stages == 2 and needs_factors(patch_normal)):
        problem.check_factors()
    times = [time.perf_counter()]
    x_hat, history = unroll_stored(
        network, problem, windows, work, normal=normal, refresh=refresh, batch=batch,
        progress=progress,
    )  # fmt: skip
    times.append(time.perf_counter())
    patch_history: tuple[Iteration, ...] = ()
    final, residual_norm = x_hat, None
    if stages == 2:
        final, patch_history, residual_norm = refine_stored(
            network,
            problem,
            x_hat,
            windows,
            work,
            normal=patch_normal,
            batch=batch,
            progress=progress,
        )
        times.append(time.perf_counter())
    return Reconstruction(
        final,
        x_hat,
        problem.initial_estimate,
        history,
        patch_history,
        residual_norm,
        _final_residual_norm(problem, final, work) if stages == 2 else None,
        windows.patches[0].shape,
        len(windows.patches),
        tuple(end - start for start, end in itertools.pairwise(times)),
    )


def _final_residual_norm(problem: StoredProblem, final: StoredVolume, work: WorkFolder) -> float:
    name = "final_residual_norm"
    if work.finished(name) is None:
        is_first = work.ranks.is_first
        norm = problem.relative_norm(problem.residual(final)) if is_first else 0.0
        work.finish(name, value=norm)
    return float((work.finished(name) or {})["value"])
