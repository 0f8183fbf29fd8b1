"""Centred orthonormal FFTs: image and k-space both have their origin at the index ``n // 2``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def centred_fft(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Return the k-space of an image over the axes given, as deepinv's MRI physics has it."""
    shifted = torch.fft.ifftshift(x, dim=axes)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes, norm="ortho"), dim=axes)


def centred_ifft(y: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Return the image of a k-space: the inverse, and the adjoint, of `centred_fft`."""
    shifted = torch.fft.ifftshift(y, dim=axes)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=axes, norm="ortho"), dim=axes)
