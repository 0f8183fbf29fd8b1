"""read_array: one array out of npz, npy, h5, cfl, nii, tif or zarr.  StoredArray: what was read."""

from __future__ import annotations

import glob
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partunroll.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEY_MARK = "::"
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")
MM_PER_NIFTI_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True)
class StoredArray:
    """An array as its file holds it, and what the file says about it.

    Attributes
    ----------
    values
        The array, in the file's own dtype; axes slowest first, so ``(z, y, x)`` for volumes.
    attributes
        What came with it: ``voxel_mm`` (per axis), and a Zarr array's attributes.
    """

    values: np.ndarray
    attributes: Mapping[str, Any]


def read_array(path: Path | str, keys: Sequence[str]) -> StoredArray:
    """Read one array from any container that partunroll knows.

    Parameters
    ----------
    path
        ``.npz`` or ``.h5`` (or ``FILE.npz::KEY``, ``FILE.h5::KEY``), ``.npy``, BART's ``.cfl``
        beside its ``.hdr``, ``.nii``, ``.nii.gz``, a ``.tif`` with one or many pages, a folder
        of tif slices or a glob pattern for them (natural order: 9 before 10), a Zarr array, a
        Zarr group that holds one array, or a path inside a Zarr store.
    keys
        Names to take, in order of preference, where a container holds several arrays.

    Raises
    ------
    InputError
        There is no such file, its kind is unknown, it cannot be read, or it holds no array or
        several that `keys` does not tell apart.
    """
    text = str(path)
    reader = _reader(text)
    try:
        return reader(text, keys)
    except InputError:
        raise
    except Exception as error:  # five libraries, each with errors of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{text} must be a readable file, got: {reason}"
        raise InputError(msg) from error


def check_readable(path: Path | str) -> None:
    """Refuse a path that cannot be read, without reading it.

    Raises
    ------
    InputError
        There is nothing there, or its kind is unknown.
    """
    _reader(str(path))


def _reader(text: str) -> Callable[[str, Sequence[str]], StoredArray]:
    path = Path(text.partition(KEY_MARK)[0])
    if any(character in text for character in "*?"):
        return _read_tif_slices
    if not path.exists():
        msg = f"{path} must be an existing file or folder, got nothing there"
        raise InputError(msg)
    if path.is_dir():
        is_zarr = any((path / name).exists() for name in ZARR_METADATA)
        return _read_zarr if is_zarr else _read_tif_slices
    for suffix, reader in _FILE_READERS.items():
        if path.name.lower().endswith(suffix):
            return reader
    msg = (
        f"file must end in {', '.join(_FILE_READERS)} or be a Zarr store or a folder of tif "
        f"slices, got {path}"
    )
    raise InputError(msg)


def _read_npz(text: str, keys: Sequence[str]) -> StoredArray:
    name, _, key = text.partition(KEY_MARK)
    with Path(name).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if not key and not set(keys) & set(names):
            names = [k for k in names if archive[k].ndim > 1]  # reads them: only where needed
        found = _choose(name, names, [key]) if key else _choose_or_only(name, names, keys)
        spacing = {"voxel_mm": archive["voxel_mm"]} if "voxel_mm" in archive.files else {}
        return StoredArray(archive[found], spacing)


def _choose_or_only(name: str, available: Sequence[str], keys: Sequence[str]) -> str:
    return available[0] if len(available) == 1 else _choose(name, available, keys)


def _choose(name: str, available: Sequence[str], keys: Sequence[str]) -> str:
    for key in keys:
        if key in available:
            return key
    msg = (
        f"{name} must hold an array called {' or '.join(keys)}, got {', '.join(available) or None}"
        f"; name the one to read as {name}{KEY_MARK}KEY"
    )
    raise InputError(msg)


def _read_npy(text: str, keys: Sequence[str]) -> StoredArray:
    del keys
    return StoredArray(np.load(text, allow_pickle=False), {})


def _read_h5(text: str, keys: Sequence[str]) -> StoredArray:
    import h5py

    name, _, key = text.partition(KEY_MARK)
    with h5py.File(name, "r") as file:
        names: list[str] = []
        file.visititems(lambda n, x: names.append(n) if isinstance(x, h5py.Dataset) else None)
        found = _choose(name, names, [key]) if key else _choose_or_only(name, names, keys)
        return StoredArray(np.asarray(file[found]), {})


def _read_cfl(text: str, keys: Sequence[str]) -> StoredArray:
    """Read BART's format: complex64 in Fortran order, its dimensions in the .hdr beside it."""
    del keys
    lines = Path(text).with_suffix(".hdr").read_text(encoding="ascii").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    dimensions = [int(word) for word in lines[0].split()]
    values = np.fromfile(text, dtype="<c8")
    if values.size != np.prod(dimensions):
        msg = f"{text} must hold {np.prod(dimensions)} values as its header says, got {values.size}"
        raise InputError(msg)
    # (x, y, z, coil, …) in Fortran order is (…, coil, z, y, x) in C order; beyond those four BART
    # writes ones, which say nothing
    later = [n for n in dimensions[4:] if n > 1]
    first = [*dimensions[:4], *[1] * (4 - len(dimensions))]
    return StoredArray(values.reshape([*reversed(later), *reversed(first)]), {})


def _read_nifti(text: str, keys: Sequence[str]) -> StoredArray:
    import nibabel

    del keys
    image: Any = nibabel.load(text)
    unit = MM_PER_NIFTI_UNIT.get(image.header.get_xyzt_units()[0], 1.0)
    voxel_mm = tuple(float(side) * unit for side in reversed(image.header.get_zooms()[:3]))
    return StoredArray(np.asanyarray(image.dataobj).T, {"voxel_mm": voxel_mm})


def _read_tif(text: str, keys: Sequence[str]) -> StoredArray:
    del keys
    return StoredArray(read_pages(text), {})


def read_pages(path: Path | str) -> np.ndarray:
    """Return the pages of a tif, of either byte order; raises what tifffile raises."""
    import tifffile

    # it has a line for every tag and page that it finds malformed, beside what it raises
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return np.asarray(tifffile.imread(path))


def _read_tif_slices(text: str, keys: Sequence[str]) -> StoredArray:
    del keys
    folder = Path(text)
    names = [str(p) for p in folder.iterdir()] if folder.is_dir() else glob.glob(text)  # noqa: PTH207 - may be absolute
    names = sorted((n for n in names if n.lower().endswith((".tif", ".tiff"))), key=_natural)
    if not names:
        msg = f"{text} must be a Zarr store or name tif slices, got none of either"
        raise InputError(msg)
    return StoredArray(np.stack([read_pages(name) for name in names]), {})


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdigit() else part for part in parts]


def _read_zarr(text: str, keys: Sequence[str]) -> StoredArray:
    import zarr

    node = zarr.open(text, mode="r")
    if isinstance(node, zarr.Group):
        node = node[_choose_or_only(text, sorted(node.array_keys()), keys)]
    if not isinstance(node, zarr.Array):
        msg = f"{text} must be a Zarr array or a group that holds one, got {type(node).__name__}"
        raise InputError(msg)
    return StoredArray(np.asarray(node[...]), node.attrs.asdict())


_FILE_READERS: dict[str, Callable[[str, Sequence[str]], StoredArray]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
    ".cfl": _read_cfl,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".tif": _read_tif,
    ".tiff": _read_tif,
}
