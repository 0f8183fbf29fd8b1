"""energy: the sum of squares of a volume."""

from __future__ import annotations

import torch


def energy(x: torch.Tensor) -> float:
    """Return ``|x|²``, summed in float64: in float32 it overflows from ``|x|`` of 2e19 on."""
    wide = torch.complex128 if x.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(x, dtype=wide)) ** 2
