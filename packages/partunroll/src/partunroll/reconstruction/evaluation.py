"""evaluate: the figures of a reconstruction against a reference, as a table and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from normalfit.written_beside import check_outputs
from partunroll.reconstruction.reconstruction_file import is_reconstruction, open_reconstruction
from partunroll.volumes.image_metrics import Comparison, magnitude
from partunroll.volumes.volume_file import read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FINAL = "reconstruction"


@dataclass(frozen=True)
class Scores:
    """PSNR in dB and SSIM of one volume; SSIM is NaN where the volume is too thin for it."""

    psnr: float
    ssim: float

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}"


@dataclass(frozen=True)
class Evaluation:
    """The figures of one reconstruction.

    Parameters
    ----------
    comparison
        The definition of the figures.
    scores
        Figures by volume: ``initial_estimate`` and ``stage1`` where the file holds them, and
        ``reconstruction``.
    titles
        What the volumes are, in words.
    notes
        What the user should know, a sentence each.
    """

    comparison: Comparison
    scores: Mapping[str, Scores]
    titles: Mapping[str, str]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        rows = [f"{'':<28} {'PSNR (dB)':>10} {'SSIM':>8}"]
        for name, scores in self.scores.items():
            rows.append(f"{self.titles[name]:<28} {scores.psnr:>10.2f} {scores.ssim:>8.4f}")
        return "\n".join([*rows, str(self.comparison), *(f"note: {n}" for n in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """Return figures and definition as JSON values; infinite ones become null on writing."""
        return {
            "volumes": {
                name: {"title": self.titles[name], "psnr": s.psnr, "ssim": s.ssim}
                for name, s in self.scores.items()
            },
            "definition": self.comparison.as_json(),
            "notes": list(self.notes),
        }


def evaluate(
    reconstruction: Path,
    reference: Path,
    *,
    data_range: float | None = None,
    crop: int = 0,
    figure: Path | None = None,
) -> Evaluation:
    """Compare a reconstruction with a reference; complex ones by their magnitudes.

    Parameters
    ----------
    reconstruction
        A reconstruction file, all of whose volumes are compared, or any file that holds a
        volume.
    reference
        File of the reference, on the same grid and in the same unit, such as
        ``data.zarr/samples/ID/reference``.
    data_range, crop
        As for `Comparison.with_reference`.
    figure
        A new PNG with slices of reference, initial estimate, reconstruction and difference.

    Raises
    ------
    InputError
        A file cannot be read, the shapes differ, a parameter is out of range, or the figure
        exists.
    ReconstructionFileError
        The reconstruction file is damaged.
    """
    check_outputs(figure)
    truth = torch.from_numpy(read_volume(reference, complex_allowed=True)[0])
    volumes, titles, notes = _read(reconstruction)
    comparison = Comparison.with_reference(truth, data_range, crop)
    scores = {name: _scores(comparison, x, truth) for name, x in volumes.items()}
    if not comparison.ssim_fits(truth):
        notes = (*notes, f"no SSIM: {tuple(truth.shape)} is thinner than its window")
    if figure is not None:
        from partunroll.volumes.figures import plot_comparison  # matplotlib is slow to import

        shown = {titles[n]: magnitude(x) for n, x in volumes.items() if n != "stage1"}
        captions = {titles[name]: str(scores[name]) for name in volumes}
        plot_comparison(magnitude(truth), shown, figure, captions)
    return Evaluation(comparison, scores, titles, notes)


def _scores(comparison: Comparison, x: torch.Tensor, reference: torch.Tensor) -> Scores:
    psnr = comparison.psnr(x, reference)
    fits = comparison.ssim_fits(reference)
    return Scores(psnr, comparison.ssim(x, reference) if fits else math.nan)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], tuple[str, ...]]:
    """Return the volumes of a file by name, what they are in words, and notes about them."""
    if not is_reconstruction(path):
        volume = torch.from_numpy(read_volume(path, complex_allowed=True)[0])
        return {FINAL: volume}, {FINAL: FINAL}, ()
    file = open_reconstruction(path)
    facts = file.facts
    titles = {"initial_estimate": "initial estimate", "stage1": "stage 1", FINAL: FINAL}
    if facts.initial_estimate.method is not None:
        titles["initial_estimate"] = facts.initial_estimate.method
    if facts.settings["stages"] == 1:
        del titles["stage1"]  # it is the reconstruction
    volumes = {name: torch.from_numpy(file.read(name)) for name in titles}
    return volumes, titles, tuple(facts.notes)
