"""WalnutFolder and OrbitFolder: the files of the Walnut-CBCT collection, as they lie on disk.

The collection of Der Sarkissian et al., "A Cone-Beam X-Ray CT Data Collection Designed for
Machine Learning", Sci Data 6, 215 (2019), as its authors' scripts read it (github
cicwi/WalnutReconstructionCodes, FDKReconstruction.py and GroundTruthReconstruction.py)::

    WalnutN/Projections/tubeV1 … tubeV3/   three source heights: high, middle, low
        scan_000000.tif … scan_001200.tif  uint16, 768 rows and 972 columns
        di000000.tif                       dark field
        io000000.tif, io000001.tif         flat fields before and after the scan: averaged
        scan_geom_corrected.geom           1201 rows of 12 numbers: ASTRA's cone_vec, in mm
        scan_geom_original.geom            the same before the authors' correction
    WalnutN/Reconstructions/full_AGD_50_000000.tif … 000500.tif   (or .tiff)
        reference, 50 accelerated non-negative gradient steps on all three orbits: 501 slices
        501 × 501 of 0.1 mm, float32, in 1/mm

An image is turned from the way the detector reads it out to the way the geometry means by
flipping its rows and transposing it, to 972 rows and 768 columns of 0.1496 mm. The views run
backwards: row i of the geometry belongs to ``scan_{1200 − i}.tif``. (Earlier versions of the
authors' scripts paired it with 1199 − i; their last one and the users of the data don't.) The
first and the last row stand at the same angle, so that 1200 views are distinct.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from normalfit.errors import NormalfitError
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.specs.array_file import finite_real, read_array_file
from partunroll.errors import InputError
from partunroll.volumes.array_file import read_pages
from partunroll.volumes.volume_file import check_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOXEL_MM = 0.1
ORBITS = (1, 2, 3)
_NAME = re.compile(r"Walnut(\d+)")
_SCAN = re.compile(r"scan_(\d+)\.tif")
_SLICE = re.compile(r"full_AGD_50_(\d+)\.tiff?")

Geometry = Literal["corrected", "original"]


@dataclass(frozen=True)
class WalnutFolder:
    """The folder of one walnut.

    Parameters
    ----------
    path
        ``WalnutN``.
    number
        N.
    """

    path: Path
    number: int

    @property
    def name(self) -> str:
        """``WalnutN``."""
        return f"Walnut{self.number}"

    def orbit(self, number: int, geometry: Geometry = "corrected") -> OrbitFolder:
        """Return one of its three scans."""
        return OrbitFolder(self.path / "Projections" / f"tubeV{number}", geometry)

    @cached_property
    def reference_slices(self) -> tuple[Path, ...]:
        """The slices of the reference, from the lowest z.

        Raises
        ------
        InputError
            There is none, one is missing, or they are no cube, as those of the collection are.
        """
        folder = self.path / "Reconstructions"
        found = {int(m[1]): p for p in folder.glob("*.tif*") if (m := _SLICE.fullmatch(p.name))}
        missing = sorted(set(range(max(found, default=0) + 1)) - set(found))
        if missing:
            msg = (
                f"{folder} must hold full_AGD_50_000000.tif and all that follow, got none of "
                f"number {missing[0]}"
            )
            raise InputError(msg)
        slices = tuple(found[i] for i in sorted(found))
        plane = read_tif(slices[0]).shape
        if plane != (len(slices), len(slices)):
            msg = (
                f"{folder} must hold as many slices as a slice has rows and columns, got "
                f"{len(slices)} of {plane[0]} × {plane[1]}; are the last ones missing?"
            )
            raise InputError(msg)
        return slices


@dataclass(frozen=True)
class OrbitFolder:
    """The folder of one scan.

    Parameters
    ----------
    path
        ``tubeVN``.
    geometry
        Which of the two geometries is meant.
    """

    path: Path
    geometry: Geometry

    @property
    def geometry_file(self) -> Path:
        """The file of `vectors`."""
        return self.path / f"scan_geom_{self.geometry}.geom"

    @cached_property
    def vectors(self) -> NDArray[np.float64]:
        """Geometry of every view, also of the last, which is the first again: ``(views + 1, 12)``.

        Raises
        ------
        InputError
            The file is missing, or holds no rows of 12 finite numbers, or not one for each view:
            views would be paired with rows of others.
        """
        try:
            vectors = finite_real(read_array_file(self.geometry_file))
        except ValueError as error:
            msg = f"{self.geometry_file}: {error}"
            raise InputError(msg) from error
        if vectors.ndim != 2 or vectors.shape[1] != 12 or len(vectors) < 4:
            msg = (
                f"{self.geometry_file} must hold 12 numbers for each of at least 4 views, "
                f"got shape {vectors.shape}"
            )
            raise InputError(msg)
        self._check_views(vectors)
        return vectors

    def view_file(self, row: int) -> Path:
        """Return the file of the projection that belongs to a row of the geometry."""
        return self.path / f"scan_{len(self.vectors) - 1 - row:06d}.tif"

    def dark_files(self) -> list[Path]:
        """Return the files of the dark field; raises InputError where there is none."""
        return _all_of(self.path, "di", 1)

    def flat_files(self) -> list[Path]:
        """Return the files of the flat field; raises InputError unless there are two."""
        return _all_of(self.path, "io", 2)

    def field(self, files: list[Path]) -> NDArray[np.float64]:
        """Return the mean of some images, turned as `read_image` turns them."""
        return cast("NDArray[np.float64]", np.mean([read_image(file) for file in files], axis=0))

    def _check_views(self, vectors: NDArray[np.float64]) -> None:
        """Refuse a geometry of other views than there are, or whose last row is not the first."""
        numbers = [
            int(m[1]) for p in self.path.glob("scan_*.tif") if (m := _SCAN.fullmatch(p.name))
        ]
        last = max(numbers, default=-1)
        if last != len(vectors) - 1:
            msg = (
                f"{self.geometry_file} must have a row for each of scan_000000.tif to the last "
                f"one, got {len(vectors)} rows, and scans up to number {last}"
            )
            raise InputError(msg)
        try:
            source = ConeGeometry(vectors, (1, 1)).source
        except NormalfitError as error:
            msg = f"{self.geometry_file}: {error}"
            raise InputError(msg) from error
        step, gap = (float(np.linalg.norm(source[i] - source[0])) for i in (1, -1))
        if gap > step / 2:
            msg = (
                f"{self.geometry_file} must end where it begins, got sources {gap:.3g} mm apart "
                f"in its first and last row, and {step:.3g} mm in its first two"
            )
            raise InputError(msg)


def find_walnuts(folder: Path | str) -> list[WalnutFolder]:
    """Return the walnuts in a folder, or the one that it is, by their numbers.

    An archive that was unpacked into a folder of its own name is found too, and one without
    projections: what lacks is said where it is used.

    Raises
    ------
    InputError
        There is none, or one is there twice.
    """
    folder = Path(folder)
    places = [folder.absolute(), *folder.glob("Walnut*"), *folder.glob("Walnut*/Walnut*")]
    found: dict[int, Path] = {}
    named = [(int(match[1]), path) for path in places if (match := _NAME.fullmatch(path.name))]
    for number, path in named:
        if not (path / "Projections").is_dir():
            continue
        other = found.setdefault(number, path)
        if other.resolve() != path.resolve():
            msg = f"walnuts must be there once, got {other} and {path}; move one away"
            raise InputError(msg)
    if not found:
        msg = f"folder must hold Walnut1/Projections or others like it, got none in {folder}"
        raise InputError(msg)
    for number, path in named:
        if path.is_dir():
            found.setdefault(number, path)
    return [WalnutFolder(found[number], number) for number in sorted(found)]


def read_image(path: Path) -> NDArray[np.float64]:
    """Return an image of the detector as the geometry means it: ``(rows, columns)``.

    Raises
    ------
    InputError
        The file is missing or no image of one channel.
    """
    return np.asarray(read_tif(path)[::-1].T, dtype=np.float64)


def read_tif(path: Path) -> np.ndarray:
    """Return the one page of a tif, of either byte order.

    Raises
    ------
    InputError
        The file is missing or no image of one channel, or a value is not a finite real number.
    """
    try:
        image = read_pages(path)
    except Exception as error:  # tifffile raises many kinds
        msg = f"{path} must be a readable tif, got: {' '.join(str(error).split())}"
        raise InputError(msg) from error
    if image.ndim != 2 or image.dtype.kind not in "uif":
        msg = f"{path} must hold one real image of one channel, got {image.dtype} {image.shape}"
        raise InputError(msg)
    check_finite("image", image, path)
    return image


def _all_of(folder: Path, prefix: str, count: int) -> list[Path]:
    """Return the files whose names a prefix and a number are, if there are so many."""
    files = sorted(folder.glob(f"{prefix}[0-9]*.tif"))
    if len(files) < count:
        wanted = " and ".join(f"{prefix}{i:06d}.tif" for i in range(count))
        msg = f"{folder} must hold {wanted}, got {', '.join(f.name for f in files) or 'none'}"
        raise InputError(msg)
    return files
