"""DemoReport: what the demo found, as a table, as JSON and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from partunroll.volumes.image_metrics import Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

METHOD_TITLES = {
    "fdk": "FDK",
    "zero_filled": "zero-filled",
    "cg_sense": "CG-SENSE",
    "post_processing": "post-processing",
    "stage1": "unrolled, stage 1",
    "stage2": "unrolled, stage 2",
}


@dataclass(frozen=True)
class MethodFigures:
    """PSNR in dB and SSIM of one method, one value per test object."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the means, and what they are means of."""
        return {
            "psnr": fmean(self.psnr),
            "ssim": fmean(self.ssim),
            "psnr_per_object": list(self.psnr),
            "ssim_per_object": list(self.ssim),
        }


@dataclass(frozen=True)
class DemoReport:
    """Everything that the demo measured.

    Parameters
    ----------
    methods
        Figures by method: those without training, ``post_processing``, ``stage1``, ``stage2``.
    seconds
        Time of each phase.
    facts
        Operator, factors, untrained methods, settings, seed, versions: what the figures depend on.
    commands
        The commands that would do each part by hand.
    """

    methods: Mapping[str, MethodFigures]
    seconds: Mapping[str, float]
    facts: Mapping[str, Any]
    commands: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "methods": {name: figures.as_json() for name, figures in self.methods.items()},
            "seconds": dict(self.seconds),
            **self.facts,
            "commands": list(self.commands),
        }

    def __str__(self) -> str:
        rows = [f"{'method':<20} {'PSNR (dB)':>10} {'SSIM':>8}"]
        for name, figures in self.methods.items():
            psnr, ssim = fmean(figures.psnr), fmean(figures.ssim)
            rows.append(f"{METHOD_TITLES[name]:<20} {psnr:>10.2f} {ssim:>8.4f}")
        times = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in self.seconds.items())
        count = len(self.methods["post_processing"].psnr)
        lines = [
            f"Mean over {count} held-out made objects ({self.facts['operator_summary']}; "
            f"data simulated on a twice finer grid, {self.facts['noise_summary']}).",
            self.facts["untrained"],
            f"Factors: {self.facts['factors_summary']}.",
            "",
            *rows,
            "",
            f"Time: {times}.",
            "The same by hand:",
            *(f"  {command}" for command in self.commands),
        ]
        return "\n".join(lines)


def compare(
    volumes: Mapping[str, list[torch.Tensor]], references: list[torch.Tensor]
) -> dict[str, MethodFigures]:
    """Return the figures of every method against the references, each with its own range."""
    figures = {}
    for method, results in volumes.items():
        pairs = list(zip(results, references, strict=True))
        scores = [Comparison.with_reference(reference) for reference in references]
        figures[method] = MethodFigures(
            tuple(score.psnr(*pair) for score, pair in zip(scores, pairs, strict=True)),
            tuple(score.ssim(*pair) for score, pair in zip(scores, pairs, strict=True)),
        )
    return figures
