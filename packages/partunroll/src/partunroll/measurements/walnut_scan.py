"""WalnutScan: some views of one walnut, as cone-beam spec, line integrals and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.specs import OperatorSpec, spec_from_document
from partunroll.errors import InputError
from partunroll.measurements.line_integrals import line_integrals
from partunroll.measurements.walnut_layout import (
    VOXEL_MM,
    OrbitFolder,
    WalnutFolder,
    read_image,
    read_tif,
)
from partunroll.volumes.binning import bin_image, bin_slices, check_voxel_bin

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from normalfit.linear_operator import LinearOperator

MAX_REPLACED = 0.05  # of a view: dead pixels are a few in a thousand; our choice


@dataclass(frozen=True)
class WalnutScan:
    """Evenly spaced views of one walnut.

    Parameters
    ----------
    walnut
        Whose.
    orbits
        The scans that the views are taken from, one after the other.
    num_views
        Of each orbit.
    volume_bin, detector_bin
        Voxels of the reference, and pixels of the detector, that become one along each axis.

    Raises
    ------
    InputError
        More views are asked for than there are.
    """

    walnut: WalnutFolder
    orbits: tuple[OrbitFolder, ...]
    num_views: int
    volume_bin: int
    detector_bin: int

    def rows_of(self, orbit: OrbitFolder) -> list[int]:
        """Return the rows of the geometry that are used."""
        distinct = len(orbit.vectors) - 1  # the last one is the first again
        if not 3 <= self.num_views <= distinct:
            msg = f"views must be 3 … {distinct}, got {self.num_views} of {orbit.path}"
            raise InputError(msg)
        return [i * distinct // self.num_views for i in range(self.num_views)]

    def vectors(self) -> NDArray[np.float64]:
        """Return ASTRA's cone_vec of the views, for the binned detector."""
        vectors = np.concatenate([orbit.vectors[self.rows_of(orbit)] for orbit in self.orbits])
        vectors[:, 6:12] *= self.detector_bin
        return vectors

    def spec(self) -> OperatorSpec:
        """Return the operator; its volume has the reference's centre, as the authors' has.

        Raises
        ------
        InputError
            Files are missing or do not fit each other, or the voxels are binned too much.
        """
        side = len(self.walnut.reference_slices)  # of a cube
        check_voxel_bin((side,) * 3, self.volume_bin)
        flat = bin_image(read_image(self.orbits[0].flat_files()[0]), self.detector_bin)
        document: dict[str, Any] = {
            "kind": "cone_beam",
            "volume_shape": [side // self.volume_bin] * 3,
            "voxel_mm": VOXEL_MM * self.volume_bin,
            "detector_shape": list(flat.shape),
            "cone_vec_file": "views.npy",
        }
        return spec_from_document(document, {"cone_vec_file": self.vectors()})

    def read(self, operator: LinearOperator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the line integrals ``(views, rows, columns)`` and the reference in 1/mm.

        Images are read one at a time; counts are binned before the logarithm, as by a coarser
        detector.

        Raises
        ------
        InputError
            Files are missing or do not fit each other, or too many pixels of a view have no
            counts.
        """
        y = np.empty(operator.range.shape, np.float32)
        views = iter(y)
        for orbit in self.orbits:
            dark = self._binned(orbit.field(orbit.dark_files()))
            flat = self._binned(orbit.field(orbit.flat_files()))
            for row in self.rows_of(orbit):
                next(views)[...] = self._view(orbit.view_file(row), flat, dark)
        return torch.from_numpy(y), torch.from_numpy(self._reference())

    def files(self) -> list[Path]:
        """Return the files that are read."""
        files = list(self.walnut.reference_slices)
        for orbit in self.orbits:
            files += [orbit.geometry_file, *orbit.dark_files(), *orbit.flat_files()]
            files += [orbit.view_file(row) for row in self.rows_of(orbit)]
        return files

    def _view(
        self, file: Path, flat: NDArray[np.float64], dark: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        counts = self._binned(read_image(file))
        try:
            found = line_integrals(counts[None], flat, dark)
        except InputError as error:
            msg = f"{file}: {error}"
            raise InputError(msg) from error
        share = found.num_replaced / found.values.size
        if share > MAX_REPLACED:
            msg = (
                f"{file} must have counts above the dark field, got {share:.0%} of the pixels "
                f"without, more than {MAX_REPLACED:.0%}"
            )
            raise InputError(msg)
        return np.asarray(found.values[0])

    def _reference(self) -> NDArray[np.float32]:
        files = self.walnut.reference_slices
        shape = (len(files),) * 3
        return bin_slices((read_tif(file) for file in files), shape, self.volume_bin)

    def _binned(self, image: np.ndarray) -> NDArray[np.float64]:
        return bin_image(image, self.detector_bin)
