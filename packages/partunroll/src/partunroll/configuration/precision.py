"""Precision: the numbers that the prior computes with, and the loss scale that fp16 needs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context that the network runs in while it is trained.

    Convolutions run in the precision; `data_step` leaves it, weights and gradients stay float32.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return the loss scale: for fp16 one that finds its size, else one that does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
