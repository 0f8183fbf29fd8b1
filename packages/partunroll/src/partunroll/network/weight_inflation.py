"""inflate: weights of a 2-D network as the start of the same network in 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def inflate(weight: torch.Tensor, depth: int, *, upsamples: bool) -> torch.Tensor:
    """Return the 3-D convolution that does to every slice what a 2-D one does.

    So a 3-D network of inflated weights maps a volume that is constant along z to the images
    that the 2-D network makes of its slices, up to the two faces. An odd kernel has the 2-D one
    in its central slice and zeros around it; an even one, which halves the volume, has it in all
    slices, divided by their number: the mean of the slices. This is deepinv's rule (`DRUNet` with
    ``pretrained="download_2d"``), but there the slice is one beside the centre, so that
    the volume moves along z, and transposed kernels, which double the volume, are divided too,
    which halves what they make.

    Parameters
    ----------
    weight
        Of a 2-D convolution, ``(…, …, y, x)``.
    depth
        Slices of the 3-D kernel.
    upsamples
        Whether the convolution is a transposed one whose stride is its length: every slice of
        its result comes from one slice of its argument.
    """
    if depth % 2:
        inflated = weight.new_zeros((*weight.shape[:2], depth, *weight.shape[2:]))
        inflated[:, :, depth // 2] = weight
        return inflated
    copies = weight[:, :, None].expand(-1, -1, depth, -1, -1)
    return copies.clone() if upsamples else copies / depth
