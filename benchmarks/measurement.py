"""Time and peak memory of a callable, and results that say what made them."""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARIES = ("normalfit", "partunroll", "torch", "numpy", "scipy", "numba", "zarr", "deepinv")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measurement:
    """Median time of a call, and the memory that it takes beyond what was held before."""

    seconds: float
    peak_bytes: int | None


def measure(call: Callable[[], object], repeats: int = 5) -> Measurement:
    """Return the median time of `repeats` calls after a warm-up, and the peak memory of one."""
    call()
    times = [_timed(call) for _ in range(repeats)]
    return Measurement(statistics.median(times), _peak_bytes(call))


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


def _timed(call: Callable[[], object]) -> float:
    _synchronize()
    started = time.perf_counter()
    call()
    _synchronize()
    return time.perf_counter() - started


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_bytes(call: Callable[[], object]) -> int | None:
    """Return the growth of the peak during a call: of torch's on a GPU, of the process's else."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    except OSError:
        return None
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
