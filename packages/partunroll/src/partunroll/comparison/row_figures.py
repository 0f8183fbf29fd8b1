"""row_figures: PSNR and SSIM of every reconstruction of a row, computed once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from partunroll.comparison.central_part import central_part, central_psnr
from partunroll.comparison.content_key import content_key
from partunroll.comparison.row_reconstruction import read_volume
from partunroll.completed_parts import CompletedParts
from partunroll.volumes.image_metrics import Comparison, magnitude
from partunroll.volumes.structural_similarity import RADIUS, structural_similarity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from partunroll.store.data_store import DataStore


@dataclass(frozen=True)
class VolumeFigures:
    """Figures of one reconstruction.

    Parameters
    ----------
    psnr
        In dB, relative to max − min of the whole reference.
    ssim_2d
        Mean over the slices across the first axis; None where they are smaller than the window.
    ssim_3d
        With a window in space; None likewise.
    """

    psnr: float
    ssim_2d: float | None
    ssim_3d: float | None


def volume_figures(x: torch.Tensor, reference: torch.Tensor, crop: float | None) -> VolumeFigures:
    """Return the figures of the central part of a volume; complex ones by their magnitudes."""
    score = Comparison.with_reference(reference)
    psnr = central_psnr(x, reference, crop)
    x, reference = (central_part(magnitude(v), crop) for v in (x, reference))
    arrays = x.numpy(), reference.numpy()
    fits = [n > 2 * RADIUS for n in x.shape]
    axes = range(x.ndim - 2, x.ndim)
    return VolumeFigures(
        psnr,
        structural_similarity(*arrays, score.data_range, axes) if all(fits[-2:]) else None,
        structural_similarity(*arrays, score.data_range) if all(fits) else None,
    )


def row_figures(
    folder: Path, samples: Sequence[str], store: DataStore, crop: float | None
) -> dict[str, VolumeFigures]:
    """Return the figures of the reconstructions in a folder, by sample.

    Parameters
    ----------
    folder
        Of a finished job; the figures are kept there.
    samples
        Their names.
    store
        Data store with the references.
    crop
        As for `central_part`.
    """
    parts = CompletedParts(folder)
    key = f"figures-{content_key({'crop': crop, 'of': 'psnr, ssim 2-D across z, ssim 3-D'})}"
    known = (parts.read(key) or {}).get("samples", {})
    found = {name: VolumeFigures(**known[name]) for name in samples if name in known}
    if len(found) == len(samples):
        return found
    for name in samples:
        x = read_volume(folder, name)
        reference = torch.from_numpy(store.read(name, "reference"))
        found[name] = volume_figures(x, reference, crop)
    parts.write(key, {"samples": {name: asdict(figures) for name, figures in found.items()}})
    return found
