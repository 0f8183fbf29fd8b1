"""Numbers that are kept positive, so that they can be divided by."""

from __future__ import annotations

import torch


def positive(x: torch.Tensor) -> torch.Tensor:
    """Raise every entry of a real tensor to at least the smallest normal number of its dtype."""
    return x.clamp_min(torch.finfo(x.dtype).tiny)
