"""Amounts of memory: as a user writes them, and as this process holds them."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_memory(text: str | None) -> int | None:
    """Return the bytes that ``8G``, ``512M`` or ``1.5 GiB`` mean (powers of two); None for None.

    Raises
    ------
    InputError
        The text is no positive amount.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    nbytes = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if nbytes < 1:
        msg = f"max_memory must be an amount as 512M or 8G, got {text!r}"
        raise InputError(msg)
    return nbytes


def resident_bytes() -> int:
    """Return what this process holds in memory now; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    import resource

    return int(pages) * resource.getpagesize()


def total_bytes(device: torch.device) -> int:
    """Return the memory of a GPU, or of the machine."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def resident_peak() -> Iterator[list[int]]:
    """Measure by how much what this process holds grows inside the block, at its peak.

    Yields
    ------
    list
        Empty; holds the bytes once the block has ended, 0 where the system (Linux does) does
        not tell.
    """
    found: list[int] = []
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
        before = resident_bytes()
    except OSError:
        before = None
    yield found
    found.append(0 if before is None else max(0, _peak_bytes() - before))


def _peak_bytes() -> int:
    """Return the most that this process has held since the peak was forgotten; 0 if unknown."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def shown(nbytes: int) -> str:
    """Return an amount to read, in GiB or MiB; in bytes below one of them."""
    if nbytes < 2**20:
        return f"{nbytes} bytes"
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.0f} MiB"
