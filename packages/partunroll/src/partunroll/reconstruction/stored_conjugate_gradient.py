"""solve_stored: conjugate gradients whose vectors are volumes on disk, resumed step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from partunroll.reconstruction.work_folder import WorkFolder
    from partunroll.store.stored_volume import StoredVolume

    Slabs = Iterator[tuple[int, torch.Tensor]]  # first plane and planes, in order


def solve_stored(
    normal: Callable[[StoredVolume], Slabs],
    right_side: str,
    work: WorkFolder,
    name: str,
    *,
    iterations: int,
    tolerance: float = 0.0,
) -> str | None:
    """Solve ``N x = b`` from zero, as `normalfit.conjugate_gradient` does, a slab at a time.

    On disk are up to seven volumes beside b; in memory a row of chunks of each, and what
    `normal` takes. The first process computes; one that was killed goes on behind its last
    iteration.

    Parameters
    ----------
    normal
        ``x -> N x``, which yields slabs.
    right_side
        Volume of the work folder that holds ``b``.
    work
        Where the vectors are.
    name
        What their names begin with.
    iterations, tolerance
        As for `conjugate_gradient`.

    Returns
    -------
    str
        The volume that holds x; None where it is zero, as b is.
    """
    steps = [f"{name}-{k}" for k in range(iterations + 1)]
    for k, step in enumerate(steps):
        before = work.finished(steps[k - 1]) if k else None
        if before is not None and before["ends"]:
            break
        if work.finished(step) is not None:
            continue
        facts: dict[str, Any] = {}
        if work.ranks.is_first:
            facts = (
                _start(work, right_side)
                if before is None
                else _iterate(normal, work, step, before, tolerance)
            )
        work.finish(step, **facts)
        work.remove(f"{step}-q", *(_vectors(before) - _vectors(work.finished(step)) - {right_side}))
    last = [found for step in steps if (found := work.finished(step)) is not None][-1]
    work.remove(*(last[vector] for vector in "rp" if last[vector] != right_side))
    solution: str | None = last["x"]
    return solution


def _vectors(facts: Mapping[str, Any] | None) -> set[str]:
    """Return the volumes that an iteration has left."""
    return set() if facts is None else {facts[v] for v in "xrp" if facts[v] is not None}


def _start(work: WorkFolder, right_side: str) -> dict[str, Any]:
    """Return what the first iteration needs to know: x is zero, r and p are b."""
    b = work.volume(right_side)
    rho = sum(_inner(part, part) for (part,) in _rows(b))
    return {"rho": rho, "start": rho, "x": None, "r": right_side, "p": right_side, "ends": not rho}


def _iterate(
    normal: Callable[[StoredVolume], Slabs],
    work: WorkFolder,
    step: str,
    before: Mapping[str, Any],
    tolerance: float,
) -> dict[str, Any]:
    """Make one iteration; return what the next one needs to know."""
    r, p, q = (work.volume(name) for name in (before["r"], before["p"], f"{step}-q"))
    curvature, writer = 0.0, work.writer(f"{step}-q")
    for start, slab in normal(p):
        curvature += _inner(torch.from_numpy(p[start : start + len(slab)]), slab.cpu())
        writer.write(slab)
    if not curvature > 0:  # N is not positive along p, or rounding has used up all directions
        return {**before, "ends": True}
    alpha, rho = before["rho"] / curvature, 0.0
    xs = [] if before["x"] is None else [work.volume(before["x"])]
    new_x, new_r = work.writer(f"{step}-x"), work.writer(f"{step}-r")
    for part_r, part_p, part_q, *part_x in _rows(r, p, q, *xs):
        residual = part_r - alpha * part_q
        rho += _inner(residual, residual)
        new_r.write(residual)
        new_x.write(part_x[0] + alpha * part_p if part_x else alpha * part_p)
    new_p = work.writer(f"{step}-p")
    for part_r, part_p in _rows(work.volume(f"{step}-r"), p):
        new_p.write(part_r + rho / before["rho"] * part_p)
    ends = rho <= tolerance**2 * before["start"]
    names = {vector: f"{step}-{vector}" for vector in "xrp"}
    return {"rho": rho, "start": before["start"], **names, "ends": ends}


def _rows(*volumes: StoredVolume) -> Iterator[list[torch.Tensor]]:
    """Yield volumes a row of chunks at a time."""
    planes = volumes[0].entry.chunks[0]
    for start in range(0, volumes[0].shape[0], planes):
        yield [torch.from_numpy(x[start : start + planes]) for x in volumes]


def _inner(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the real inner product, plane by plane in double precision."""
    return sum(float(torch.vdot(a.flatten(), b.flatten()).real) for a, b in zip(x, y, strict=True))
