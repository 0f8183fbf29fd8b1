"""Diagonal-circulant approximations of the normal operator ``A*A`` of an imaging operator.

The names below are imported when they are first used, so that `import normalfit` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normalfit.adapters.any_operator import as_operator
    from normalfit.factor_file import (
        FactorFile,
        FactorMetadata,
        load_factors,
        migrate,
        open_factors,
        save_factors,
        validate,
    )
    from normalfit.factors import Factors
    from normalfit.fitting import fit
    from normalfit.grid import Grid, Patch
    from normalfit.lag_kernel import LagKernel
    from normalfit.linear_operator import FunctionOperator, LinearOperator
    from normalfit.model import Model
    from normalfit.restriction import restrict
    from normalfit.slabs import apply_in_slabs
    from normalfit.specs import OperatorSpec, load_spec

_MODULES = {
    "FactorFile": "factor_file",
    "FactorMetadata": "factor_file",
    "Factors": "factors",
    "FunctionOperator": "linear_operator",
    "Grid": "grid",
    "LagKernel": "lag_kernel",
    "LinearOperator": "linear_operator",
    "Model": "model",
    "OperatorSpec": "specs",
    "Patch": "grid",
    "apply_in_slabs": "slabs",
    "as_operator": "adapters.any_operator",
    "fit": "fitting",
    "load_factors": "factor_file",
    "load_spec": "specs",
    "migrate": "factor_file",
    "open_factors": "factor_file",
    "restrict": "restriction",
    "save_factors": "factor_file",
    "validate": "factor_file",
}

__all__ = [
    "FactorFile",
    "FactorMetadata",
    "Factors",
    "FunctionOperator",
    "Grid",
    "LagKernel",
    "LinearOperator",
    "Model",
    "OperatorSpec",
    "Patch",
    "apply_in_slabs",
    "as_operator",
    "fit",
    "load_factors",
    "load_spec",
    "migrate",
    "open_factors",
    "restrict",
    "save_factors",
    "validate",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
