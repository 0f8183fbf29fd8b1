"""Operators of normalfit, imported when first used: numba and torch are slow to import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normalfit.operators.cone_beam import ConeBeam
    from normalfit.operators.cone_geometry import ConeGeometry
    from normalfit.operators.deconvolution import Deconvolution
    from normalfit.operators.inpainting import Inpainting
    from normalfit.operators.parallel_beam import ParallelBeam
    from normalfit.operators.parallel_geometry import ParallelGeometry

__all__ = [
    "ConeBeam",
    "ConeGeometry",
    "Deconvolution",
    "Inpainting",
    "ParallelBeam",
    "ParallelGeometry",
]

_MODULES = {
    "ConeBeam": "cone_beam",
    "ConeGeometry": "cone_geometry",
    "Deconvolution": "deconvolution",
    "Inpainting": "inpainting",
    "ParallelBeam": "parallel_beam",
    "ParallelGeometry": "parallel_geometry",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
