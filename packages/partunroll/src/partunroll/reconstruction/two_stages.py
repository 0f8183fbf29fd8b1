"""reconstruct: both stages of the reconstruction (paper, algorithm 1; design §5)."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Literal, get_args

import torch

from partunroll.errors import InputError, NotFiniteError
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.patches.patch_normal import needs_factors, patch_normal_kind
from partunroll.ranks import ALONE, Ranks
from partunroll.reconstruction.kept_stage_two import refine_kept
from partunroll.reconstruction.reconstruction_result import Reconstruction
from partunroll.reconstruction.stage_one import unroll_volume
from partunroll.reconstruction.volume_problem import Normal, VolumeProblem

if TYPE_CHECKING:
    from rich.progress import Progress

    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator
    from partunroll.network.iteration import Iteration
    from partunroll.network.networks import Network
    from partunroll.patches.blended_patches import Overlap
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.windows import BlendKind
    from partunroll.reconstruction.work_folder import WorkFolder

REFRESH = 2  # with factors: half of the applications of A*A, at a cost of 0.05 dB (design §5)


@torch.no_grad()
def reconstruct(
    network: Network,
    operator: LinearOperator,
    measurements: torch.Tensor,
    factors: Factors | None,
    norm: float,
    initial_estimate: torch.Tensor,
    *,
    patch_shape: int | tuple[int, ...],
    overlap: Overlap = None,
    stride: int | tuple[int, ...] | None = None,
    blend: BlendKind = "hann",
    stages: Literal[1, 2] = 2,
    normal: Normal = "exact",
    patch_normal: PatchNormalKind | Literal["exact"] = "factors",
    refresh: int | None = None,
    batch: int = 2,
    progress: Progress | None = None,
    work: WorkFolder | None = None,
    ranks: Ranks = ALONE,
) -> Reconstruction[torch.Tensor]:
    """Reconstruct a volume with a trained network; no gradient is kept.

    Stage 1 unrolls on the whole volume, stage 2 solves every patch with the result of stage 1
    as its context. Costs one forward and one adjoint per exact gradient, one more pair for
    stage 2, a restricted pair per patch there, and one forward after it. Memory is a few
    volumes, the measurements and one batch of patches. A post-processing network makes one pass
    of its prior.

    Parameters
    ----------
    network
        In evaluation mode, on the device of the volumes.
    operator, measurements, factors, norm, initial_estimate
        As for `VolumeProblem`.
    patch_shape, overlap, stride, blend
        As for `overlapping_windows`.
    stages
        1 leaves out the second.
    normal
        What stage 1 applies to the whole volume between exact gradients, and what its proximal
        steps solve with.
    patch_normal
        What stage 2 applies to patches; as in training. 'exact' is an old name of 'restricted'.
    refresh
        Iterations of stage 1 per exact gradient: 1 with 'exact', by default 2 with 'factors'.
    batch
        Patches that are worked on together; one alone takes the CPU as long as two.
    progress
        Where to show bars.
    work
        Where iterates and refined planes are kept, so that a process that was killed goes on.
    ranks
        The processes that share the patches; each gets the result.

    Raises
    ------
    InputError
        Shapes do not fit each other, a parameter is out of range, factors are asked for and not
        given, or the result is not finite.
    """
    problem = VolumeProblem(operator, measurements, initial_estimate, norm, factors)
    patch_normal = patch_normal_kind(patch_normal)
    windows = overlapping_windows(
        operator.domain.shape, patch_shape, overlap, stride=stride, blend=blend
    )
    refresh = checked_refresh(normal, refresh)
    check_factors_are_used(network.cg_iterations, normal, refresh, patch_normal)
    if normal == "factors" or (stages == 2 and needs_factors(patch_normal)):
        _ = problem.scaled_factors  # raises now, not after stage 1, where there are none
    times = [time.perf_counter()]
    x_hat, history = unroll_volume(
        network,
        problem,
        windows,
        normal=normal,
        refresh=refresh,
        batch=batch,
        progress=progress,
        work=work,
        ranks=ranks,
    )
    times.append(time.perf_counter())
    final, residual_norm = x_hat, None
    patch_history: tuple[Iteration, ...] = ()
    if stages == 2:
        residual = problem.residual(x_hat)
        residual_norm = problem.relative_norm(residual)
        final, patch_history = refine_kept(
            network,
            problem,
            x_hat,
            operator.adjoint(residual),
            windows,
            normal=patch_normal,
            batch=batch,
            progress=progress,
            work=work,
            ranks=ranks,
        )
        times.append(time.perf_counter())
    _check_finite(final)
    return Reconstruction(
        final,
        x_hat,
        initial_estimate,
        history,
        patch_history,
        residual_norm,
        problem.relative_norm(problem.residual(final)) if stages == 2 else None,
        windows.patches[0].shape,
        len(windows.patches),
        tuple(end - start for start, end in itertools.pairwise(times)),
    )


def checked_refresh(normal: Normal, refresh: int | None) -> int:
    """Return the iterations of stage 1 per exact gradient.

    Raises
    ------
    InputError
        It is below 1, or not 1 with the exact normal operator, or `normal` is unknown.
    """
    if normal not in get_args(Normal):
        msg = f"normal must be one of {', '.join(get_args(Normal))}, got {normal!r}"
        raise InputError(msg)
    if refresh is None:
        return 1 if normal == "exact" else REFRESH
    if refresh < 1 or (normal == "exact" and refresh > 1):
        msg = (
            f"refresh must be at least 1, and 1 with normal 'exact', got {refresh} with {normal!r}"
        )
        raise InputError(msg)
    return refresh


def check_factors_are_used(
    cg_iterations: int, normal: Normal, refresh: int, patch_normal: PatchNormalKind
) -> None:
    """Refuse factors that only proximal steps would use, where the network takes none.

    Raises
    ------
    InputError
        The network takes gradient steps, and all of them are exact.
    """
    if cg_iterations:
        return
    if normal == "factors" and refresh == 1:
        msg = (
            "refresh must be above 1 with normal 'factors' where no proximal step solves with "
            "them (network.cg_iterations 0), got 1; take normal 'exact'"
        )
        raise InputError(msg)
    if patch_normal == "corrected":
        msg = (
            "patch_normal must not be 'corrected' where no proximal step solves with factors "
            "(network.cg_iterations 0); take 'restricted'"
        )
        raise InputError(msg)


def _check_finite(x: torch.Tensor) -> None:
    if not bool(x.isfinite().all()):
        msg = "reconstruction must be finite, got NaN or infinity; did the training diverge?"
        raise NotFiniteError(msg)
