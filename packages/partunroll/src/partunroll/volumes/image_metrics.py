"""PSNR and SSIM of a volume against a reference, and the words that define them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partunroll.errors import InputError
from partunroll.volumes.structural_similarity import K1, K2, RADIUS, SIGMA, structural_similarity

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how: the definition behind every figure.

    Parameters
    ----------
    data_range
        Peak signal of PSNR and dynamic range of SSIM.
    crop
        Voxels left out at both ends of every axis.
    range_from
        Where `data_range` comes from, in words.

    Raises
    ------
    InputError
        `data_range` is not a positive number, or `crop` is negative.
    """

    data_range: float
    crop: int = 0
    range_from: str = "given"

    def __post_init__(self) -> None:
        if not (self.data_range > 0 and math.isfinite(self.data_range)):
            msg = (
                f"data_range must be positive and finite, got {self.data_range} "
                f"({self.range_from}); give one"
            )
            raise InputError(msg)
        if self.crop < 0:
            msg = f"crop must be at least 0, got {self.crop}"
            raise InputError(msg)

    @classmethod
    def with_reference(
        cls, reference: torch.Tensor, data_range: float | None = None, crop: int = 0
    ) -> Comparison:
        """Return the comparison with a reference; its max − min is the default data range.

        Complex volumes are compared by their magnitudes.
        """
        if data_range is not None:
            return cls(data_range, crop)
        shown = magnitude(reference)
        spread = float(shown.max() - shown.min())
        words = "max − min of the reference"
        return cls(spread, crop, words + ("'s magnitude" if reference.is_complex() else ""))

    def __str__(self) -> str:
        region = f"without {self.crop} voxels at every face" if self.crop else "whole volume"
        return (
            f"data range {self.data_range:.6g} ({self.range_from}); {region}; "
            "PSNR = 10 log10(range² / mean squared error); "
            f"SSIM with a Gaussian window of {2 * RADIUS + 1} voxels (sigma {SIGMA}) along every "
            f"axis, K1 = {K1}, K2 = {K2}"
        )

    def as_json(self) -> dict[str, object]:
        """Return the definition as JSON values."""
        return {
            "data_range": self.data_range,
            "data_range_from": self.range_from,
            "crop": self.crop,
            "text": str(self),
        }

    def psnr(self, x: torch.Tensor, reference: torch.Tensor) -> float:
        """Return the peak signal-to-noise ratio in dB.

        It is infinite where nothing differs, −∞ where the error is, NaN where a value is.

        Raises
        ------
        InputError
            The shapes differ, or nothing is left of them.
        """
        x, reference = self._cropped(x, reference)
        squared_error = float((x.double() - reference.double()).square().mean())
        if squared_error == 0:
            return math.inf
        if squared_error == math.inf:
            return -math.inf
        return 10 * math.log10(self.data_range**2 / squared_error)

    def ssim(self, x: torch.Tensor, reference: torch.Tensor) -> float:
        """Return the structural similarity, in 3-D for volumes and in 2-D for images.

        Raises
        ------
        InputError
            The shapes differ, or an axis is shorter than the window.
        """
        x, reference = self._cropped(x, reference)
        arrays = x.detach().cpu().numpy(), reference.detach().cpu().numpy()
        return structural_similarity(*arrays, self.data_range)

    def ssim_fits(self, x: torch.Tensor) -> bool:
        """Return whether what is left of a volume is as wide as the window of SSIM."""
        return min(x.shape) - 2 * self.crop > 2 * RADIUS

    def _cropped(
        self, x: torch.Tensor, reference: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if x.shape != reference.shape:
            msg = (
                f"volume must have the reference's shape {tuple(reference.shape)}, "
                f"got {tuple(x.shape)}; bring both to one grid"
            )
            raise InputError(msg)
        if 2 * self.crop >= min(x.shape):
            msg = f"crop must leave voxels of the shape {tuple(x.shape)}, got {self.crop}"
            raise InputError(msg)
        inner = tuple(slice(self.crop, n - self.crop) for n in x.shape)
        return magnitude(x)[inner], magnitude(reference)[inner]


def magnitude(x: torch.Tensor) -> torch.Tensor:
    """Return a complex volume's magnitude, and a real volume as it is."""
    return x.abs() if x.is_complex() else x
