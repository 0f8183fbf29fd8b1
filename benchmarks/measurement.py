"""Time and peak memory of callables, results that say what made them, and claims about them."""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIBRARIES = ("normalfit", "partunroll", "torch", "numpy", "scipy", "numba", "zarr", "deepinv")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's mallopt: larger blocks are mapped
_MAPPED_BYTES, _USUAL_BYTES = 2**16, 2**25  # 2^25 is where glibc's own threshold grows to
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measurement:
    """Median time of a call, and the memory that it takes beyond what was held before."""

    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Claim:
    """A sentence with the figures in it, and whether they bear it out."""

    text: str
    holds: bool


def conclude(claims: list[Claim]) -> int:
    """Print the last line of a benchmark and return its exit code: 0 if every claim holds."""
    failed = [claim.text for claim in claims if not claim.holds]
    if failed or not claims:
        print(f"claim fails: {'; '.join(failed) or 'nothing was measured'}", flush=True)
        return 1
    print(f"claim holds: {'; '.join(claim.text for claim in claims)}", flush=True)
    return 0


@contextmanager
def one_thread_processes() -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of one process for each core, whose libraries take one thread each.

    The environment tells them: of torch's own setting they do not know, and their threads would
    wait for each other in loops (a fit took six times as long).
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
            yield pool
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def times_in_turns(
    calls: dict[str, Callable[[], object]],
    repeats: int = 5,
    *,
    device: torch.device | str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of `repeats` calls of each, after a warm-up of all.

    The calls take turns, so that the machine's drift meets all of them: compare times of the
    same round. With `time.process_time` as the clock, waiting for a busy machine does not count.
    """
    on_gpu = torch.device(device).type == "cuda"
    for call in calls.values():
        call()
    rounds = [
        {name: _timed(call, on_gpu=on_gpu, clock=clock) for name, call in calls.items()}
        for _ in range(repeats)
    ]
    return {name: [times[name] for times in rounds] for name in calls}


def measure(
    call: Callable[[], object], repeats: int = 5, *, device: torch.device | str = "cpu"
) -> Measurement:
    """Return the median time of `repeats` calls after a warm-up, and the peak memory of one.

    Parameters
    ----------
    device
        Where the call computes: a CUDA device's memory is that of torch's allocator, the CPU's
        is that of the process (kB resident; None where Linux does not tell).
    """
    on_gpu = torch.device(device).type == "cuda"
    call()
    times = [_timed(call, on_gpu=on_gpu) for _ in range(repeats)]
    return Measurement(statistics.median(times), peak_bytes(call, device=device))


def peak_bytes(call: Callable[[], object], *, device: torch.device | str = "cpu") -> int | None:
    """Return the peak memory of a call, as in `measure`."""
    on_gpu = torch.device(device).type == "cuda"
    return _peak_bytes_on_gpu(call) if on_gpu else _peak_bytes_on_cpu(call)


def peak_bytes_of_one(call: Callable[[], object], *, device: torch.device | str = "cpu") -> int:
    """Return the peak memory of a call that is made once, as in `measure`.

    What the call leaves behind counts, and so does what libraries set up: measure in a fresh
    process, after a call of the same kind that is tiny.
    """
    if torch.device(device).type == "cuda":
        return _peak_bytes_on_gpu(call)
    with _arrays_mapped():
        gc.collect()
        return _growth(call)


def provenance() -> dict[str, Any]:
    """Return the command, the versions and the machine behind a result."""
    return {
        "command": shlex.join(["uv", "run", *sys.argv]),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a result with its provenance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**document, "provenance": provenance()}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def _timed(
    call: Callable[[], object], *, on_gpu: bool, clock: Callable[[], float] = time.perf_counter
) -> float:
    _synchronize(on_gpu=on_gpu)
    started = clock()
    call()
    _synchronize(on_gpu=on_gpu)
    return clock() - started


def _synchronize(*, on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


def _peak_bytes_on_gpu(call: Callable[[], object]) -> int:
    """Return the growth of the peak of torch's allocator during a call."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def _peak_bytes_on_cpu(call: Callable[[], object]) -> int | None:
    """Return the growth of the resident peak of the process during a call.

    Memory that was freed before must not be reused unseen, nor stay resident when it is freed
    within the call: the heap is trimmed, and arrays are mapped one by one. That is slow, so
    times are taken without it. Checked with three live arrays of 1, 4, 16 and 64 MiB of torch
    and of numpy: 2.8-3.0, 11.9, 47.9 and 191.8 MiB.
    """
    with _arrays_mapped():
        call()  # what it keeps between calls, it keeps now
        gc.collect()
        try:
            return min(_growth(call) for _ in range(3))  # the rest of the process only adds
        except OSError:
            return None


def _growth(call: Callable[[], object]) -> int:
    _allocator("malloc_trim", 0)  # free memory of the heap is used first, and stays resident
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


@contextmanager
def _arrays_mapped() -> Iterator[None]:
    """Give every block from 64 KiB on a mapping of its own, which freeing it unmaps."""
    _allocator("mallopt", _M_MMAP_THRESHOLD, _MAPPED_BYTES)
    try:
        yield
    finally:
        _allocator("mallopt", _M_MMAP_THRESHOLD, _USUAL_BYTES)
        _allocator("mallopt", _M_TRIM_THRESHOLD, 2 * _USUAL_BYTES)


def _allocator(name: str, *arguments: int) -> None:
    """Call a function of glibc's allocator; other C libraries have none."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
