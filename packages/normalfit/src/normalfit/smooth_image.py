"""smooth_image: the random diagonal that a term after the first starts from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAVES = 3  # per axis, the constant one included; 2 and 5 took up to four sweeps longer


def smooth_image(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Return a random sum of the longest cosine waves of each axis, float32 ``(*shape)``."""
    image = torch.randn([_WAVES] * len(shape), generator=generator)
    for n in shape:
        position = (torch.arange(n) + 0.5) / n
        waves = torch.cos(math.pi * torch.arange(_WAVES)[:, None] * position)
        image = torch.tensordot(image, waves, dims=([0], [0]))
    return image
