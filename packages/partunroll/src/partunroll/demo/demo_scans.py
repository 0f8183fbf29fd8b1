"""ConeBeamScan and MRIScan: what the demo scans its objects with, and compares with untrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from normalfit.operators.cone_beam import ConeBeam
from partunroll.baselines.iterative import (
    CG_ITERATIONS,
    DEFAULT_RIDGE,
    cg_reconstruction,
    zero_filled,
)
from partunroll.baselines.window_choice import choose_window
from partunroll.initial.fdk import fdk
from partunroll.measurements.noise import PhotonNoise, RelativeNoise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from normalfit.linear_operator import LinearOperator
    from partunroll.measurements.noise import Noise
    from partunroll.store.data_store import DataStore


@dataclass(frozen=True, eq=False)
class Untrained:
    """The methods without training that the demo compares with.

    Parameters
    ----------
    methods
        ``y -> x`` by name, in the order of the table.
    note
        How they were set, a sentence.
    commands
        Options of the `partunroll` command that does the same, by name.
    """

    methods: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
    note: str
    commands: Mapping[str, tuple[object, ...]]


class Scan(Protocol):
    """How the objects of the demo are measured."""

    @property
    def noise(self) -> Noise:
        """The noise of the measurements."""

    @property
    def simulate_options(self) -> tuple[object, ...]:
        """The same as options of `partunroll simulate`."""

    def fit_options(self, probes: int) -> Mapping[str, Any]:
        """Return arguments of `fit_to_file`, which are options of `normalfit fit` too."""

    def operator_document(self, num_voxels: int) -> dict[str, Any]:
        """Return the operator of a cube of voxels."""

    def words(self, num_voxels: int) -> tuple[str, str]:
        """Return operator and noise in words."""

    def untrained(self, operator: LinearOperator, data: DataStore, norm: float) -> Untrained:
        """Return the methods without training, set on the validation objects of `data`."""


@dataclass(frozen=True)
class ConeBeamScan:
    """A circular cone-beam orbit, magnification 1.5.

    Parameters
    ----------
    num_views
        Views over the full circle.
    photons
        Photons per ray without an object.
    """

    num_views: int
    photons: float

    @property
    def noise(self) -> Noise:
        return PhotonNoise(self.photons)

    @property
    def simulate_options(self) -> tuple[object, ...]:
        return "--photons", self.photons

    def fit_options(self, probes: int) -> Mapping[str, Any]:
        return {"probes": probes}

    def operator_document(self, num_voxels: int) -> dict[str, Any]:
        n = num_voxels
        return {
            "kind": "cone_beam",
            "volume_shape": [n, n, n],
            "voxel_mm": 1.0,
            "detector_shape": [n + n // 2, n + n // 2],
            "pixel_mm": 1.5,
            "source_origin_mm": 4.0 * n,
            "origin_detector_mm": 2.0 * n,
            "num_views": self.num_views,
        }

    def words(self, num_voxels: int) -> tuple[str, str]:
        operator = f"cone beam, {num_voxels}³ voxels, {self.num_views} views"
        return operator, f"{self.photons:g} photons per ray"

    def untrained(self, operator: LinearOperator, data: DataStore, norm: float) -> Untrained:
        del norm
        assert isinstance(operator, ConeBeam)  # noqa: S101 - operator_document says so
        window = choose_window(data, data.split("validation"), operator)
        return Untrained(
            {"fdk": lambda y: fdk(operator, y, window.window, window.cutoff)},
            f"FDK window {window}, chosen on the validation objects.",
            {"fdk": ("initial", "--window", window.window, "--cutoff", window.cutoff)},
        )


@dataclass(frozen=True)
class MRIScan:
    """A Cartesian scan with a birdcage, in hybrid space: the first axis is transformed already.

    Parameters
    ----------
    num_coils
        Coils.
    acceleration, calibration
        Of the Poisson disc.
    relative_noise
        Norm of the noise over that of the measurements.
    """

    num_coils: int
    acceleration: float
    calibration: int
    relative_noise: float

    @property
    def noise(self) -> Noise:
        return RelativeNoise(self.relative_noise)

    @property
    def simulate_options(self) -> tuple[object, ...]:
        return "--relative-noise", self.relative_noise

    def fit_options(self, probes: int) -> Mapping[str, Any]:
        del probes
        return {"method": "direct"}

    def operator_document(self, num_voxels: int) -> dict[str, Any]:
        return {
            "kind": "multicoil_mri",
            "volume_shape": [num_voxels] * 3,
            "num_coils": self.num_coils,
            "mask": "poisson-disc",
            "acceleration": self.acceleration,
            "calibration": self.calibration,
            "readout_axis": 0,
            "hybrid": True,
        }

    def words(self, num_voxels: int) -> tuple[str, str]:
        operator = (
            f"MRI, {num_voxels}³ voxels, {self.num_coils} simulated coils, R = "
            f"{self.acceleration:g}"
        )
        return operator, f"{self.relative_noise:.0%} noise"

    def untrained(self, operator: LinearOperator, data: DataStore, norm: float) -> Untrained:
        del data
        return Untrained(
            {
                "zero_filled": lambda y: zero_filled(operator, y),
                "cg_sense": lambda y: cg_reconstruction(operator, y, norm).x,
            },
            f"CG-SENSE: {CG_ITERATIONS} iterations, ridge {DEFAULT_RIDGE:g}.",
            {"zero_filled": ("baseline", "zero-filled"), "cg_sense": ("baseline", "cg")},
        )
