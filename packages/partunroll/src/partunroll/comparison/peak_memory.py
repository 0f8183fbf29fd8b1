"""peak_memory: the most that this process has held of the GPU or of the machine since it began."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_KEY = "VmHWM:"  # kB; the resident peak of this program, not of the one that started it
_RESET = Path("/proc/self/clear_refs"), "5"  # lets VmHWM begin anew from what is held


def begin_peak_memory(device: torch.device) -> None:
    """Let the peak begin anew from what is held now, where the system can: Linux, and GPUs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    file, value = _RESET
    with contextlib.suppress(OSError):
        file.write_text(value, encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Return bytes: what torch has allocated on a GPU at most, else the resident peak.

    The latter counts Python and its libraries, some 700 MB. `getrusage` gives it where the
    system has no /proc; on Linux that starts from the peak of the parent process, which
    /proc does not.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(_KEY))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
