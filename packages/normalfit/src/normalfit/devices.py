"""The device that a name means and its free memory: the one place that asks for a GPU."""

from __future__ import annotations

import re

import torch

from normalfit.container_memory import container_free_bytes
from normalfit.errors import BackendError, InputError


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` means.

    Parameters
    ----------
    name
        'auto' (the GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.

    Raises
    ------
    InputError
        The name is none of these.
    BackendError
        A GPU was asked for by name and is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    gpu = re.fullmatch(r"cuda(?::([0-9]+))?", name)
    if gpu is None:
        msg = f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}"
        raise InputError(msg)
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(gpu[1] or 0) >= available:
        msg = (
            f"device must be present, got {name!r} with {available} CUDA devices; "
            "use 'auto' or 'cpu'"
        )
        raise BackendError(msg)
    return torch.device(name)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device; None where it cannot be told.

    Of the host: what the system can give out, and no more than a container leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 - no file on disk
            found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return None
    known = [int(found[0]) * 1024 if found else None, container_free_bytes()]
    return min((free for free in known if free is not None), default=None)
