"""Values that each term of a sum has one of, spread over its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def spread_over_image(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Reshape ``(terms,)`` so that it broadcasts against an image ``(terms, *shape)``."""
    return values.reshape(-1, *[1] * (image.ndim - 1))
