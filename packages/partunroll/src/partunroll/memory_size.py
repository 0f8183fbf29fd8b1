"""Amounts of memory: as a user writes them, and as this process holds them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from partunroll.errors import InputError

if TYPE_CHECKING:
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


def shown(nbytes: int) -> str:
    """Return an amount to read, in GiB or MiB; in bytes below one of them."""
    if nbytes < 2**20:
        return f"{nbytes} bytes"
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.0f} MiB"
