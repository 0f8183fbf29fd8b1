"""birdcage_maps: simulated sensitivities of coils around the object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from normalfit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_IN_A_RING = 8  # as in sigpy: more coils than that make another ring


def birdcage_maps(
    num_coils: int, shape: Sequence[int], *, radius: float = 1.5, normalised: bool = True
) -> torch.Tensor:
    """Return coil maps of a birdcage, as sigpy and the Michigan toolbox simulate them.

    The coils stand on circles in the plane of the last two axes; of three axes, along the first,
    more than 8 coils are spread over rings of equal size.

    Parameters
    ----------
    num_coils
        J.
    shape
        Voxels of two or three axes.
    radius
        Of the circles, in half fields of view; 1.5 leaves room around the object.
    normalised
        Whether the root of the sum of squares over the coils is one everywhere.

    Returns
    -------
    torch.Tensor
        complex64 ``(num_coils, *shape)``.

    Raises
    ------
    InputError
        An argument is out of range.
    """
    if num_coils < 1 or len(shape) not in (2, 3) or not 0 < radius < math.inf:
        msg = (
            "birdcage must have at least one coil, two or three axes and a positive radius, "
            f"got {num_coils} coils, shape {tuple(shape)}, radius {radius}"
        )
        raise InputError(msg)
    rings = -(-num_coils // _MOST_IN_A_RING) if len(shape) == 3 else 1
    in_ring = -(-num_coils // rings)
    coordinates = [(torch.arange(n).double() - n // 2) / max(n / 2, 1) for n in shape]
    axial = coordinates[0][:, None, None] if len(shape) == 3 else torch.zeros(1, 1).double()
    y, x = coordinates[-2][:, None], coordinates[-1][None, :]
    maps = []
    for coil in range(num_coils):
        ring, angle = coil // in_ring, 2 * math.pi * coil / in_ring
        dx, dy = x - radius * math.cos(angle), y - radius * math.sin(angle)
        dz = axial - (ring - (rings - 1) / 2)
        distance = (dx.square() + dy.square() + dz.square()).sqrt()
        phase = torch.atan2(dx, -dy) - angle - 2 * math.pi * ring / in_ring
        maps.append(torch.polar(1 / distance.clamp_min(1e-6), phase.expand(distance.shape)))
    stacked = torch.stack(maps)
    if normalised:
        stacked = stacked / stacked.abs().square().sum(0).sqrt()
    return stacked.to(torch.complex64)
