"""circumstances: the code and the machine that a row was made with, for the head of the table."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from partunroll.training.provenance import git_state


def circumstances(device: torch.device) -> dict[str, str]:
    """Return what does not name a result, but may change it or its times.

    ``code`` is the commit, with a plus where files of it are changed, and empty outside a
    repository; ``machine`` the GPU, or the processor with the threads that are used of its cores.
    """
    git = git_state(Path(__file__))
    code = "" if git is None else f"{git['commit'][:12]}{' +' if git['dirty'] else ''}"
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        name = platform.processor() or platform.machine()
        machine = f"{name} CPU, {torch.get_num_threads()} of {os.cpu_count()} threads"
    return {"code": code, "machine": machine}
