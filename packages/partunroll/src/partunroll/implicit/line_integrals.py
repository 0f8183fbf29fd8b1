"""line_integrals: a field along rays, by samples of about equal steps at random places in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.implicit.scan_rays import RayBatch


def line_integrals(
    field: Callable[[torch.Tensor], torch.Tensor],
    rays: RayBatch,
    step: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return ``Σ_samples value · step in mm`` of every ray, ``(rays,)``.

    A ray is cut into pieces of equal length, at most `step` voxels, and has one sample in each;
    a ray that misses the volume has none.

    Parameters
    ----------
    field
        From positions ``(points, axes)``, in voxels, to values ``(points, 1)``.
    rays
        The rays.
    step
        Longest piece, in voxels (of the longest component: along the main axis of the ray).
    generator
        Of the places in the pieces, on the CPU; None: their middles.
    """
    extent = rays.direction.abs().amax(1)
    pieces = torch.where(rays.length_mm > 0, (extent / step).ceil(), 0.0).long()
    owner = torch.repeat_interleave(torch.arange(len(pieces), device=pieces.device), pieces)
    first = pieces.cumsum(0) - pieces
    place = (torch.arange(len(owner), device=owner.device) - first[owner]).float()
    if generator is None:
        place += 0.5
    else:
        place += torch.rand(len(owner), generator=generator).to(place.device)
    share = (place / pieces[owner])[:, None]
    values = field(rays.start[owner] + share * rays.direction[owner])[:, 0]
    step_mm = rays.length_mm / pieces.clamp_min(1)
    sums = torch.zeros_like(rays.length_mm).index_add(0, owner, values)
    return sums * step_mm
