"""unroll_stored: stage 1 of the reconstruction of a volume that stays on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from partunroll.network.iteration import Iteration
from partunroll.reconstruction.stored_blend import blend_to_disk
from partunroll.reconstruction.stored_conjugate_gradient import solve_stored
from partunroll.reconstruction.work_folder import INITIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.network.networks import Network
    from partunroll.patches.windows import BlendWindows
    from partunroll.reconstruction.stored_conjugate_gradient import Slabs
    from partunroll.reconstruction.stored_problem import StoredProblem
    from partunroll.reconstruction.volume_problem import Normal
    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume


def unroll_stored(
    network: Network,
    problem: StoredProblem,
    windows: BlendWindows,
    work: WorkFolder,
    *,
    normal: Normal = "exact",
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
    network, windows, normal, refresh, batch, progress
        As for `unroll_volume`.
    problem
        The reconstruction's.
    work
        Where the volumes are, and what of them is finished.

    Raises
    ------
    InputError
        There are no factors where `normal` says so.
    """
    progress = progress or Progress(disable=True)
    device = problem.measurements.device
    count = len(network.step_sizes)
    task = progress.add_task("stage 1", total=count * len(windows.patches))
    solver = problem.scaled_normal if normal == "exact" else problem.scaled_factors
    for k, step_size in enumerate(network.step_sizes.tolist()):
        after, stepped = _iterate(k + 1), f"stepped-{k}"
        if work.finished(after) is None:
            if work.finished(stepped) is None:
                iterations = network.cg_iterations
                facts = (
                    _solve_step(problem, solver, work, k, refresh, step_size, iterations)
                    if iterations
                    else _take_step(problem, work, k, refresh, step_size)
                )
                work.finish(stepped, **facts)

            def prior(patches: Sequence[Patch], _: bool, of: str = stepped) -> torch.Tensor:
                progress.advance(task, len(patches) * work.ranks.size)
                return network.prior(work.volume(of).extract(patches, device))

            blend_to_disk(prior, windows, work, after, device=device, batch=batch)
            work.finish(after, **(work.finished(stepped) or {}))
            work.remove(stepped, *_outlived(k + 1, refresh, count), *_directions(work, k))
        progress.update(task, completed=(k + 1) * len(windows.patches))
    history = tuple(Iteration(**(work.finished(_iterate(k + 1)) or {})) for k in range(count))
    return work.volume(_iterate(count)), history


def _take_step(
    problem: StoredProblem, work: WorkFolder, k: int, refresh: int, step_size: float
) -> dict[str, float | None]:
    """Write ``x_k − η g_k`` slab by slab; return what is logged of the iteration."""
    if not work.ranks.is_first:
        return {}
    residual_norm, gradients = _gradients(problem, work, k, refresh)
    keep = work.writer(f"gradient-{k}") if refresh > 1 and k % refresh == 0 else None
    x, writer, square = work.volume(_iterate(k)), work.writer(f"stepped-{k}"), 0.0
    for start, gradient in gradients:
        square += _square(gradient)
        before = torch.from_numpy(x[start : start + len(gradient)]).to(gradient)
        writer.write(before - step_size * gradient)
        if keep is not None:
            keep.write(gradient)
    return {
        "step_size": step_size,
        "gradient_norm": square**0.5,
        "residual_norm": residual_norm,
    }


def _solve_step(
    problem: StoredProblem,
    solver: Callable[[StoredVolume], Slabs],
    work: WorkFolder,
    k: int,
    refresh: int,
    step_size: float,
    iterations: int,
) -> dict[str, float | None]:
    """Write ``x_k − η (I + ηB)⁻¹ g_k``, as `proximal_direction` has it; return what is logged."""
    name = f"gradient-{k}"
    if work.finished(name) is None:
        work.finish(name, **_write_gradient(problem, work, k, refresh, step_size))

    def shifted(p: StoredVolume) -> Iterator[tuple[int, torch.Tensor]]:
        for start, slab in solver(p):
            yield start, torch.from_numpy(p[start : start + len(slab)]).to(slab) + step_size * slab

    direction = solve_stored(shifted, name, work, f"direction-{k}", iterations=iterations)
    if work.ranks.is_first:
        x, writer, planes = work.volume(_iterate(k)), work.writer(f"stepped-{k}"), problem.planes
        for start in range(0, x.shape[0], planes):
            before = torch.from_numpy(x[start : start + planes])
            if direction is not None:
                before -= step_size * torch.from_numpy(
                    work.volume(direction)[start : start + planes]
                )
            writer.write(before)
    return dict(work.finished(name) or {})


def _write_gradient(
    problem: StoredProblem, work: WorkFolder, k: int, refresh: int, step_size: float
) -> dict[str, float | None]:
    if not work.ranks.is_first:
        return {}
    residual_norm, gradients = _gradients(problem, work, k, refresh)
    writer, square = work.writer(f"gradient-{k}"), 0.0
    for _, gradient in gradients:
        square += _square(gradient)
        writer.write(gradient)
    return {"step_size": step_size, "gradient_norm": square**0.5, "residual_norm": residual_norm}


def _gradients(
    problem: StoredProblem, work: WorkFolder, k: int, refresh: int
) -> tuple[float | None, Iterator[tuple[int, torch.Tensor]]]:
    """Return the relative norm of the residual, where it is computed, and the gradient's slabs."""
    reference = k - k % refresh
    if k != reference:
        return None, _referred(problem, work, k, reference)
    residual = problem.residual(work.volume(_iterate(k)))
    return problem.relative_norm(residual), _exact(problem, residual)


def _square(x: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(x).double()) ** 2


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


def _directions(work: WorkFolder, k: int) -> set[str]:
    """Return the volumes that iteration k has solved for."""
    steps = [work.finished(name) or {} for name in work.names(f"direction-{k}-")]
    return {step["x"] for step in steps if step["x"] is not None}


def _outlived(k: int, refresh: int, count: int) -> list[str]:
    """Return the volumes that nothing reads any more once iterate k is there."""
    kept = {k} if k % refresh == 0 or k == count else {k, k - k % refresh}
    iterates = [_iterate(j) for j in range(1, k) if j not in kept]
    return [*iterates, *(f"gradient-{j}" for j in range(k) if j not in kept)]
