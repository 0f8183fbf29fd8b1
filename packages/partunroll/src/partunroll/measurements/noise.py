"""PhotonNoise and RelativeNoise: what a measurement adds to exact line integrals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from partunroll.errors import InputError

Seed = int | tuple[int, ...]
MAX_PHOTONS = 1e15  # numpy draws no Poisson counts far above


class Noise(Protocol):
    """A noise model: seeded, applied to one sample's measurements."""

    def intensity_per_mm(self, measurements: np.ndarray) -> float | None:
        """Return the attenuation in 1/mm that a volume value of one stands for, if any."""

    def apply(self, measurements: np.ndarray, seed: Seed) -> np.ndarray:
        """Return noisy measurements: same shape and dtype, the same for the same seed."""

    def document(self) -> dict[str, Any]:
        """Return the model as it stands in a data store."""


@dataclass(frozen=True)
class PhotonNoise:
    """Poisson noise of photon counts, seen through the logarithm.

    ``p ~ Poisson(I0 exp(−μ y))``, noisy ``y = −log(max(p, 1) / I0) / μ``, where `photons` is
    I0, the expected count of a ray that meets nothing, and the attenuation ``μ`` is such that
    the largest line integral ``μ y`` of the sample is `max_line_integral`. A count of zero is
    taken as one.

    Parameters
    ----------
    photons
        Photons per detector pixel and view.
    max_line_integral
        3 lets 5 % of the photons through the thickest place; our choice.

    Raises
    ------
    InputError
        A parameter is not a positive number, or there are more photons than 1e15.
    """

    photons: float
    max_line_integral: float = 3.0

    def __post_init__(self) -> None:
        _check_positive("photons", self.photons)
        if self.photons > MAX_PHOTONS:
            msg = f"photons must be at most {MAX_PHOTONS:g}, got {self.photons:g}; leave them out"
            raise InputError(msg)
        _check_positive("max_line_integral", self.max_line_integral)

    def intensity_per_mm(self, measurements: np.ndarray) -> float:
        """Return ``μ``: the attenuation in 1/mm that a volume value of one stands for."""
        largest = float(np.max(measurements))
        return self.max_line_integral / largest if largest > 0 else 1.0

    def apply(self, measurements: np.ndarray, seed: Seed) -> np.ndarray:
        """Return noisy line integrals.

        Raises
        ------
        InputError
            The measurements are complex.
        """
        if np.iscomplexobj(measurements):
            msg = "photon noise must have real measurements, got complex; use a relative level"
            raise InputError(msg)
        attenuation = self.intensity_per_mm(measurements)
        expected = self.photons * np.exp(-attenuation * measurements.astype(np.float64))
        counts = np.random.default_rng(seed).poisson(expected)
        noisy = -np.log(np.maximum(counts, 1) / self.photons) / attenuation
        return noisy.astype(measurements.dtype)

    def document(self) -> dict[str, Any]:
        return {"kind": "photons", **asdict(self)}


@dataclass(frozen=True)
class RelativeNoise:
    """Gaussian noise whose norm is about `level` times that of the measurements.

    Parameters
    ----------
    level
        Standard deviation, relative to the root mean square of the sample's measurements;
        0 adds nothing. Complex measurements (k-space) get half of the variance in each part;
        zeros in them were not measured, and stay.

    Raises
    ------
    InputError
        The level is negative or not finite.
    """

    level: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level) and self.level >= 0):
            msg = f"relative noise level must be a number >= 0, got {self.level}"
            raise InputError(msg)

    def intensity_per_mm(self, measurements: np.ndarray) -> None:
        """Return None: the level is relative, no attenuation is assumed."""
        del measurements

    def apply(self, measurements: np.ndarray, seed: Seed) -> np.ndarray:
        squares = np.abs(measurements.astype(np.complex128)) ** 2
        measured = squares > 0 if np.iscomplexobj(measurements) else np.ones(squares.shape, bool)
        rms = float(np.sqrt(squares.sum() / max(int(measured.sum()), 1)))
        generator = np.random.default_rng(seed)
        if np.iscomplexobj(measurements):
            parts = generator.standard_normal((2, *measurements.shape)) / np.sqrt(2.0)
            noise: np.ndarray = parts[0] + 1j * parts[1]
        else:
            noise = generator.standard_normal(measurements.shape)
        return (measurements + self.level * rms * measured * noise).astype(measurements.dtype)

    def document(self) -> dict[str, Any]:
        return {"kind": "relative", **asdict(self)}


def noise_model(photons: float | None = None, relative_level: float | None = None) -> Noise:
    """Return the noise that two options of a command line name; without either, none.

    Raises
    ------
    InputError
        Both are given, or a value is not allowed.
    """
    if photons is not None and relative_level is not None:
        msg = (
            "noise must be a photon count or a relative level, "
            f"got both: {photons:g} photons and level {relative_level:g}"
        )
        raise InputError(msg)
    return PhotonNoise(photons) if photons is not None else RelativeNoise(relative_level or 0.0)


def _check_positive(name: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        msg = f"{name} must be a positive number, got {value}"
        raise InputError(msg)
