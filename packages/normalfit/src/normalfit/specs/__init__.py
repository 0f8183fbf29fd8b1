"""Operator specs: YAML files that describe an operator, checked before anything is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normalfit.specs.operator_spec import OperatorSpec, load_spec, spec_from_document

__all__ = ["OperatorSpec", "load_spec", "spec_from_document"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module("normalfit.specs.operator_spec"), name)
