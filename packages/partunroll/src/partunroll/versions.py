"""versions: of everything that decides what a run computes."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide what a run computes."""
    libraries = ("partunroll", "normalfit", "torch", "deepinv", "numpy", "zarr")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in libraries},
    }
