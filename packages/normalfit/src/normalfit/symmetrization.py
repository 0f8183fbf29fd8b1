"""symmetrize: the self-adjoint half of the sum of factors and their adjoint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from normalfit.factors import Factors


def symmetrize(factors: Factors) -> Factors:
    """Return ``½ (B + B*)`` (paper, remark 4.2), with twice as many terms."""
    other = factors.adjoint
    h = _joined(factors, factors.kernel.values, other.kernel.values) / 2
    u, v = (_joined(factors, *pair) for pair in ((factors.u, other.u), (factors.v, other.v)))
    return replace(factors, kernel=replace(factors.kernel, values=h), u=u, v=v)


def _joined(factors: Factors, *images: torch.Tensor | None) -> torch.Tensor:
    """Return images, or kernels, one after the other along the terms."""
    axis = -len(factors.shape) - 1
    expanded = [factors.expanded(image) for image in images]
    batch = np.broadcast_shapes(*[image.shape[:axis] for image in expanded])
    return torch.cat([image.expand(*batch, *image.shape[axis:]) for image in expanded], axis)
