"""CalgaryScan: a file of the Calgary-Campinas multi-coil raw data, as hybrid k-space.

As the data set's authors and users read it (github rmsouza01/MC-MRI-Rec, Modules/
data_generator.py; NKI-AI/direct, CalgaryCampinasDataset): one HDF5 file per head with the
dataset ``kspace``, float32 ``(x, ky, kz, 2 · coils)`` of 256 × 218 × 170 to 180 × 24, real and
imaginary parts of the coils in turn along the last axis. Along x the scanner has applied the
inverse transform. Voxels are 1 mm. The zero frequency is at the index ``n // 2`` of ky and kz,
but images come out centred by a plain inverse FFT, ``np.fft.ifft2``: so k-space carries a linear
phase, which `read` takes out, since operators here have the centre of images at ``n // 2``.
kz was measured to 85 % and then filled with zeros; whatever the file holds there is made zero.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MEASURED_KZ = 0.85
VOXEL_MM = 1.0
PEAK_REACH = 0.1  # of the points, beside the middle; an echo is off by a few  # our choice
MIN_SAMPLED = 0.9  # of the points in the inscribed ellipse; files of R = 5 have 0.2  # our choice
_KEY = "kspace"
_SLICES_AT_ONCE = 8


@dataclass(frozen=True)
class CalgaryScan:
    """One head.

    Parameters
    ----------
    path
        Its file.
    slices
        The slices along x to take, first and one past the last; None: all. In hybrid space they
        are independent of each other.
    """

    path: Path
    slices: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Name of the file without its ending, ``e14089s3_P53248.7``."""
        return self.path.stem

    def shape(self) -> tuple[int, int, int, int]:
        """Return ``(coils, x, ky, kz)`` of what is taken.

        Raises
        ------
        InputError
            The file is no such file, or has fewer slices.
        """
        with self._opened() as data:
            first, last = self._range(data.shape[0])
            return data.shape[3] // 2, last - first, data.shape[1], data.shape[2]

    def measured(self) -> NDArray[np.bool_]:
        """Return which points ``(ky, kz)`` were measured."""
        _, _, ky, kz = self.shape()
        return np.broadcast_to(np.arange(kz) < math.ceil(kz * MEASURED_KZ), (ky, kz))

    def read(self) -> torch.Tensor:
        """Return centred hybrid k-space, complex64 ``(coils, x, ky, kz)``.

        Memory: the result and some slices.

        Raises
        ------
        InputError
            As `shape`, a value is not finite, or the file is of another layout: k-space does not
            have its largest value near its centre, or was not fully sampled.
        """
        shape = self.shape()
        largest = np.zeros(shape[2:])
        kspace = np.empty(shape, np.complex64)
        phase = _linear_phase(shape[2])[:, None] * _linear_phase(shape[3])[None, :]
        weights = (phase * self.measured()).astype(np.complex64)
        with self._opened() as data:
            first, last = self._range(data.shape[0])
            for start in range(first, last, _SLICES_AT_ONCE):
                stop = min(start + _SLICES_AT_ONCE, last)
                parts = np.asarray(data[start:stop], dtype=np.float32)
                if not np.isfinite(parts).all():
                    msg = f"{_KEY} must be finite, got NaN or infinite values in {self.path}"
                    raise InputError(msg)
                np.maximum(largest, np.abs(parts).max(axis=(0, 3)), out=largest)
                coils = parts[..., ::2] + 1j * parts[..., 1::2]
                kspace[:, start - first : stop - first] = np.moveaxis(coils, -1, 0) * weights
        self._check_sampling(largest * self.measured())
        return torch.from_numpy(kspace)

    def _check_sampling(self, largest: NDArray[np.float64]) -> None:
        """Refuse k-space by the largest magnitude of each of its points, ``(ky, kz)``."""
        if not largest.any():
            msg = f"{_KEY} must hold a signal, got zeros in {self.path}"
            raise InputError(msg)
        sides = largest.shape
        peak = np.unravel_index(int(largest.argmax()), sides)
        if any(abs(i - n // 2) > max(2, n * PEAK_REACH) for i, n in zip(peak, sides, strict=True)):
            middle = tuple(n // 2 for n in sides)
            msg = (
                f"{_KEY} must be largest near the middle of ky and kz, {middle}, got its largest "
                f"value at {tuple(map(int, peak))} in {self.path}"
            )
            raise InputError(msg)
        y, z = (np.linspace(-1, 1, n) for n in sides)
        inside = (y[:, None] ** 2 + z[None, :] ** 2 < 1) & self.measured()
        share = float((largest[inside] > 0).mean())
        if share < MIN_SAMPLED:
            msg = (
                f"{_KEY} must be fully sampled, as those of training and validation are, got "
                f"{share:.0%} of its points that are not zero in {self.path}"
            )
            raise InputError(msg)

    def _range(self, num_slices: int) -> tuple[int, int]:
        first, last = self.slices or (0, num_slices)
        if not 0 <= first < last <= num_slices:
            msg = f"slices must lie in 0 … {num_slices} of {self.path}, got {first} … {last}"
            raise InputError(msg)
        return first, last

    def _opened(self) -> _Opened:
        return _Opened(self.path)


class _Opened:
    """The dataset of a file, checked, while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:  # noqa: ANN401 - h5py has no types
        try:
            self._file = h5py.File(self._path, "r")
        except OSError as error:
            msg = f"{self._path} must be a readable HDF5 file, got: {error}"
            raise InputError(msg) from error
        data = self._file.get(_KEY)
        if (
            not isinstance(data, h5py.Dataset)
            or data.ndim != 4
            or data.shape[3] % 2
            or data.size == 0
            or data.dtype.kind != "f"
        ):
            found = f"{data.dtype} {data.shape}" if isinstance(data, h5py.Dataset) else "none"
            self._file.close()
            msg = (
                f"{self._path} must hold real numbers called {_KEY} of the shape (x, ky, kz, "
                f"2 · coils), got {found}"
            )
            raise InputError(msg)
        return data

    def __exit__(self, *_: object) -> None:
        self._file.close()


def find_scans(folder: Path | str, slices: tuple[int, int] | None = None) -> list[CalgaryScan]:
    """Return the scans in a folder and those below it, by their names.

    Raises
    ------
    InputError
        There is none, or two have one name.
    """
    paths = sorted(_h5_files(Path(folder)), key=lambda path: path.name)
    if not paths:
        msg = f"folder must hold .h5 files, got none in {folder}"
        raise InputError(msg)
    for one, other in itertools.pairwise(paths):
        if one.name == other.name:
            msg = f"scans must have different names, got {one} and {other}"
            raise InputError(msg)
    return [CalgaryScan(path, slices) for path in paths]


def _h5_files(folder: Path) -> Iterator[Path]:
    """Yield the files, but for hidden ones, which archives of other systems bring."""
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".h5" and path.name[0] != "." and path.is_file()
    )


def _linear_phase(n: int) -> NDArray[np.complex128]:
    """Return what makes a centred inverse FFT of an axis as a plain one, but for a phase."""
    centre = n // 2
    return np.exp(2j * np.pi * centre * (np.arange(n) - centre) / n)
