"""What `memory_stays_flat` measures, each case in a process of its own.

    python memory_cases.py < cases.jsonl

Reads a case a line, and writes its result as a line of JSON. A process is forked for each, so
that imports are made once; whatever is measured begins with the same call on a tiny problem.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from large_problem import LAGS, LargeProblem, network_document
from measurement import peak_bytes_of_one
from volume_arrays import VolumeArray, volume_arrays

from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from partunroll.configuration.train_config import TrainConfig
from partunroll.network.networks import build_network
from partunroll.network.prior import DRUNetPrior
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.reconstruction.stage_one import patched_prior
from partunroll.reconstruction.stored_blend import blend_to_disk
from partunroll.reconstruction.work_folder import opened
from partunroll.training.patch_training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from normalfit.grid import Patch
    from partunroll.network.networks import Network
    from partunroll.patches.windows import BlendWindows

TRAINING, PRIOR, FULL = "training", "prior", "full"
STEPS = 2  # of training; the first reads what is kept
ROWS, STRIPS = 2, 2  # offsets of patches along the first and the second axis that are taken
_PR_SET_THP_DISABLE = 41
TINY = 8  # voxels that the volume of the warm-up is larger than a patch


def train_case(case: dict[str, Any], problem: LargeProblem) -> Callable[[], float]:
    """Return a call that trains, and returns the seconds of its last step."""
    config = TrainConfig.model_validate(
        {
            "network": network_document(case["iterations"], case["widths"]),
            "patch_shape": case["patch"],
            "batch": case["batch"],
            "steps": STEPS,
            "cache": case["in_memory"],
            "device": case["device"],
        }
    )

    def call() -> float:
        with tempfile.TemporaryDirectory(dir=problem.folder) as folder:
            run = Path(folder) / "run"
            train(config, [problem.factors], problem.data, run)
            lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [line for line in map(json.loads, lines) if "loss" in line]
        return steps[-1]["seconds"] + steps[-1]["data_seconds"]

    return call


def prior_case(case: dict[str, Any], problem: LargeProblem) -> Callable[[], float]:
    """Return a call that applies a prior to the first patches; it returns seconds per patch."""
    network = fresh_network(case)
    windows = first_patches(case, problem.size)
    in_memory, batch, device = case["in_memory"], case["prior_batch"], case["device"]

    @torch.no_grad()
    def call() -> float:
        started = time.perf_counter()
        if in_memory:
            x = torch.from_numpy(problem.volume[0 : problem.size]).to(device)
            patched_prior(network, x, windows, batch)
        else:
            on_disk()
        return (time.perf_counter() - started) / len(windows.patches)

    def on_disk() -> None:
        x = problem.volume

        def prior(patches: Sequence[Patch], _: bool) -> torch.Tensor:
            return network.prior(x.extract(patches, device))

        with tempfile.TemporaryDirectory(dir=problem.folder) as folder:
            path = Path(folder) / "work"
            with opened(path, {}, x.shape, x.dtype) as work:
                blend_to_disk(prior, windows, work, "blended", device=device, batch=batch)

    return call


def first_patches(case: dict[str, Any], size: int) -> BlendWindows:
    """Return the windows of a volume with a few of its patches: the first strips of two rows.

    Batches are full, as the convolutions' library keeps memory for every shape that it meets.
    """
    windows = overlapping_windows((size,) * 3, case["patch"])
    offsets = sorted({patch.offset[0] for patch in windows.patches})
    taken: list[Patch] = []
    for row in offsets[:ROWS]:
        here = [
            p for p in windows.patches if p.offset[0] == row and p.offset[1] in offsets[:STRIPS]
        ]
        taken += here[: max(case["prior_batch"], len(here) - len(here) % case["prior_batch"])]
    windows.patches = tuple(taken)
    return windows


def full_case(case: dict[str, Any], size: int) -> Callable[[], None]:
    """Return a call that unrolls whole volumes, forward and backward."""
    network, device = fresh_network(case), case["device"]
    axis = torch.arange(LAGS, dtype=torch.float32) - LAGS // 2
    kernel = torch.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2))

    def call() -> None:
        shape = (size,) * 3
        u = torch.ones(1, *shape, device=device)
        lags = LagKernel((kernel / kernel.sum())[None].to(device), shape, ("linear",) * 3)
        x0, g0, truth = (torch.full((case["batch"], *shape), 0.5, device=device) for _ in range(3))
        network.zero_grad()
        x = network(x0, g0, Factors(lags, u))
        torch.nn.functional.mse_loss(x, truth).backward()

    return call


def fresh_network(case: dict[str, Any]) -> Network:
    """Return the untrained network of a case."""
    document = {"network": network_document(case["iterations"], case["widths"])}
    config = TrainConfig.model_validate(document)
    torch.manual_seed(0)
    return build_network(config.resolved((case["patch"],) * 3).network).to(case["device"])


@contextmanager
def counted(size: int, device: str, call_number: int) -> Iterator[list[VolumeArray]]:
    """Yield a list that will hold the arrays of the volume's size when a prior is called."""
    found: list[VolumeArray] = []
    numbers = itertools.count()

    def look(module: torch.nn.Module, _: object) -> None:
        if isinstance(module, DRUNetPrior) and next(numbers) == call_number:
            found.extend(volume_arrays((size,) * 3, device))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield found
    finally:
        handle.remove()


def measure_stage(case: dict[str, Any]) -> dict[str, Any]:
    """Return peak, arrays of the volume's size, and where it is wanted the time, of a stage."""
    build = train_case if case["kind"] == TRAINING else prior_case
    with tempfile.TemporaryDirectory() as folder:
        tiny = LargeProblem(Path(folder), case["patch"] + TINY)
        tiny.make()
        build(case, tiny)()
    problem = LargeProblem(Path(case["folder"]), case["size"])
    call = build(case, problem)
    last_step = case["iterations"] * (STEPS - 1) if case["kind"] == TRAINING else 0
    with counted(case["size"], case["device"], last_step) as arrays:
        peak = peak_bytes_of_one(call, device=case["device"])
    seconds = call() if case["is_timed"] else None
    of = "a step" if case["kind"] == TRAINING else "a patch"
    return {"peak_bytes": peak, "arrays": [*map(asdict, arrays)], "seconds": seconds, "of": of}


def measure_full(case: dict[str, Any]) -> dict[str, Any]:
    """Return the peak of unrolling whole volumes; None where it is above the limit."""
    full_case(case, 32)()
    call, limit = full_case(case, case["size"]), case["limit"]
    if case["device"] == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + limit, hard))
    try:
        return {"peak_bytes": peak_bytes_of_one(call, device=case["device"])}
    except (RuntimeError, MemoryError) as error:
        lines = [line for line in str(error).splitlines() if "memory" in line or "alloc" in line]
        if not lines and not isinstance(error, MemoryError):
            raise
        return {"peak_bytes": None, "message": (lines or ["out of memory"])[0]}


def data_bytes() -> int:
    """Return what this process has mapped to write to, which RLIMIT_DATA limits."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData"):
            return int(line.split()[1]) * 1024
    return 0


def use_small_pages() -> None:
    """Have Linux count pages of 4 KiB: a huge one counts 2 MiB for what is written into it."""
    set_option = getattr(ctypes.CDLL(None), "prctl", None)
    if set_option is not None:
        set_option(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case."""
    if case["kind"] == "make":
        LargeProblem(Path(case["folder"]), case["size"]).make()
        return {}
    return measure_full(case) if case["kind"] == FULL else measure_stage(case)


def main() -> None:
    """Measure the cases on standard input, each in a forked process."""
    use_small_pages()
    import deepinv.models  # noqa: F401 - before the forks: it takes seconds

    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(json.dumps(measured(json.loads(line))), flush=True)
            os._exit(0)
        if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            print(json.dumps({"exit_code": code}), flush=True)


if __name__ == "__main__":
    main()
