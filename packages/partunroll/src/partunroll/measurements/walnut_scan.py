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
from partunroll.volumes.binning import bin_image, bin_slices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from normalfit.linear_operator import LinearOperator


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
            Files are missing or do not fit each other.
        """
        num_slices = len(self.walnut.reference_slices)
        plane = read_tif(self.walnut.reference_slices[0]).shape
        flat = bin_image(read_image(self.orbits[0].flat_files()[0]), self.detector_bin)
        document: dict[str, Any] = {
            "kind": "cone_beam",
            "volume_shape": [n // self.volume_bin for n in (num_slices, *plane)],
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
            Files are missing or do not fit each other.
        """
        y = np.empty(operator.range.shape, np.float32)
        views = iter(y)
        for orbit in self.orbits:
            dark = self._binned(orbit.field(orbit.dark_files()))
            flat = self._binned(orbit.field(orbit.flat_files()))
            for row in self.rows_of(orbit):
                counts = self._binned(read_image(orbit.view_file(row)))
                next(views)[...] = line_integrals(counts[None], flat, dark).values[0]
        return torch.from_numpy(y), torch.from_numpy(self._reference())

    def files(self) -> list[Path]:
        """Return the files that are read."""
        files = list(self.walnut.reference_slices)
        for orbit in self.orbits:
            files += [orbit.geometry_file, *orbit.dark_files(), *orbit.flat_files()]
            files += [orbit.view_file(row) for row in self.rows_of(orbit)]
        return files

    def _reference(self) -> NDArray[np.float32]:
        files = self.walnut.reference_slices
        plane = read_tif(files[0]).shape
        shape = (len(files), plane[0], plane[1])
        return bin_slices((read_tif(file) for file in files), shape, self.volume_bin)

    def _binned(self, image: np.ndarray) -> NDArray[np.float64]:
        return bin_image(image, self.detector_bin)
