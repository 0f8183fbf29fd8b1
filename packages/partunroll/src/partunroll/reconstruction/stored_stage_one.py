"""unroll_stored: stage 1 of the reconstruction of a volume that stays on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from partunroll.errors import InputError
from partunroll.network.iteration import Iteration
from partunroll.reconstruction.stored_blend import blend_to_disk
from partunroll.reconstruction.work_folder import INITIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.network.networks import Network
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.stored_problem import StoredProblem
    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume


def unroll_stored(
    network: Network,
    problem: StoredProblem,
    windows: BlendWindows,
    work: WorkFolder,
    *,
    refresh: int = 1,
    batch: int = 1,
    progress: Progress | None = None,
) -> tuple[StoredVolume, tuple[Iteration, ...]]:
    """Return ``x̂`` and the iterations, as `unroll_volume` does; no volume is in memory.

    Every data step is finished as a whole, the prior is slab by slab: a process that was killed
    goes on behind the last one on disk. The data steps are the first process's, the patches all
    processes'.

    Parameters
    ----------
    network, windows, refresh, batch, progress
        As for `unroll_volume`; gradient steps only.
    problem
        The reconstruction's.
    work
        Where the volumes are, and what of them is finished.

    Raises
    ------
    InputError
        The network has proximal steps, or `refresh` needs factors that are not there.
    """
    check_gradient_steps(network)
    progress = progress or Progress(disable=True)
    device = problem.measurements.device
    count = len(network.step_sizes)
    task = progress.add_task("stage 1", total=count * len(windows.patches))
    for k, step_size in enumerate(network.step_sizes.tolist()):
        after, stepped = _iterate(k + 1), f"stepped-{k}"
        if work.finished(after) is None:
            if work.finished(stepped) is None:
                facts = _take_step(problem, work, k, refresh, step_size)
                work.finish(stepped, **facts)

            def prior(patches: Sequence[Patch], _: bool, of: str = stepped) -> torch.Tensor:
                progress.advance(task, len(patches))
                return network.prior(work.volume(of).extract(patches, device))

            blend_to_disk(prior, windows, work, after, device=device, batch=batch)
            work.finish(after, **(work.finished(stepped) or {}))
            work.remove(stepped, *_outlived(k + 1, refresh, count))
        progress.update(task, completed=(k + 1) * len(windows.patches))
    history = tuple(Iteration(**(work.finished(_iterate(k + 1)) or {})) for k in range(count))
    return work.volume(_iterate(count)), history


def check_gradient_steps(network: Network) -> None:
    """Refuse a network whose data steps need more volumes at once than are streamed.

    Raises
    ------
    InputError
        It has proximal steps.
    """
    if network.cg_iterations:
        msg = (
            "network must take gradient steps where volumes stay on disk, got one of proximal "
            f"steps ({network.cg_iterations} CG iterations); allow more memory"
        )
        raise InputError(msg)


def _take_step(
    problem: StoredProblem, work: WorkFolder, k: int, refresh: int, step_size: float
) -> dict[str, float | None]:
    """Write ``x_k − η g_k`` slab by slab; return what is logged of the iteration."""
    if not work.ranks.is_first:
        return {}
    reference = k - k % refresh
    residual_norm, keep = None, None
    if k == reference:
        residual = problem.residual(work.volume(_iterate(k)))
        residual_norm = problem.relative_norm(residual)
        gradients = _exact(problem, residual)
        keep = work.writer(f"gradient-{k}") if refresh > 1 else None
    else:
        gradients = _referred(problem, work, k, reference)
    x, writer, square = work.volume(_iterate(k)), work.writer(f"stepped-{k}"), 0.0
    for start, gradient in gradients:
        square += float(torch.linalg.vector_norm(gradient).double()) ** 2
        before = torch.from_numpy(x[start : start + len(gradient)]).to(gradient)
        writer.write(before - step_size * gradient)
        if keep is not None:
            keep.write(gradient)
    return {
        "step_size": step_size,
        "gradient_norm": square**0.5,
        "residual_norm": residual_norm,
    }


def _exact(problem: StoredProblem, residual: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the slabs of ``−A*(y − A x)``, divided by the norm."""
    for start, slab in problem.adjoint(residual):
        yield start, -slab / problem.norm


def _referred(
    problem: StoredProblem, work: WorkFolder, k: int, reference: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the slabs of ``B (x − x_ref) + g_ref``."""
    x, x_ref = work.volume(_iterate(k)), work.volume(_iterate(reference))
    gradient_ref = work.volume(f"gradient-{reference}")
    for start, slab in problem.scaled_factors(x, x_ref):
        yield start, slab + torch.from_numpy(gradient_ref[start : start + len(slab)]).to(slab)


def _iterate(k: int) -> str:
    return f"iterate-{k}" if k else INITIAL


def _outlived(k: int, refresh: int, count: int) -> list[str]:
    """Return the volumes that nothing reads any more once iterate k is there."""
    kept = {k} if k % refresh == 0 or k == count else {k, k - k % refresh}
    iterates = [_iterate(j) for j in range(1, k) if j not in kept]
    return [*iterates, *(f"gradient-{j}" for j in range(k) if j not in kept)]
