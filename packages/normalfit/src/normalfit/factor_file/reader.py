"""Factor files: factors and the operator they were fitted to, in a Zarr 3 group.

The layout is described in docs/factor-file.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from normalfit.errors import CorruptFileError, MismatchError
from normalfit.factor_file.arrays import CheckedArray, check_size, damage_reported
from normalfit.factor_file.header_0_1 import parse_header_0_1
from normalfit.factor_file.header_parsing import attributes_of, parse_header
from normalfit.factor_file.limits import DEFAULT_LIMITS, Limits
from normalfit.factor_file.manifest import HEADER, check_header
from normalfit.factor_file.metadata import FactorMetadata
from normalfit.factor_file.stored_files import stored_files
from normalfit.factor_file.writer import write_factor_file
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import OperatorSpec, spec_from_document
from normalfit.spectral_norm import SpectralNorm

if TYPE_CHECKING:
    import numpy as np

    from normalfit.factor_file.arrays import Region
    from normalfit.factor_file.header import CommonHeader
    from normalfit.factor_file.stored_files import StoredFiles
    from normalfit.grid import Patch
    from normalfit.lag_grid import Boundary


def save_factors(
    path: str | Path, factors: Factors, metadata: FactorMetadata, *, overwrite: bool = False
) -> FactorFile:
    """Write factors to a file and return it, opened.

    The file is written beside `path`, read back and compared bit for bit, and put in its place.
    When anything fails, or the process is killed, `path` is as it was.

    Parameters
    ----------
    path
        A folder to make; a name that ends in ``.zip`` makes one archive of it.
    factors, metadata
        What to write.
    overwrite
        Replace a factor file that is there.

    Raises
    ------
    InputError
        `path` exists and `overwrite` is not set, or is no factor file; the factors carry batch
        axes or are not finite; their dtype is not float32, float64, complex64 or complex128.
    MismatchError
        The metadata's fingerprint is not its spec's.
    """
    write_factor_file(path, factors, metadata, overwrite=overwrite)
    return open_factors(path)


def open_factors(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> FactorFile:
    """Open a factor file: read and check its header, no array.

    Parameters
    ----------
    path
        A folder or a ``.zip``, of version 0.1 or 1.x.
    limits
        What is refused before anything is allocated.

    Raises
    ------
    NotAFactorFileError
        There is nothing, or something else.
    UnsupportedVersionError
        It has a version that this normalfit does not read.
    CorruptFileError
        It is damaged.
    LimitError
        It holds more than the limits.
    """
    path = Path(path)
    with damage_reported(path), stored_files(path) as files:
        header = _read_header(files, limits)
        for name, entry in header.arrays.items():
            check_size(name, entry, limits)
        return FactorFile(path, header, limits)


def load_factors(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Factors:
    """Read all factors of a file; `open_factors` also gives what is known about them.

    Raises
    ------
    FactorFileError
        As `open_factors`.
    """
    return open_factors(path).load(device, dtype)


def _read_header(files: StoredFiles, limits: Limits) -> CommonHeader:
    data = files.read(HEADER, limits)
    attributes = attributes_of(data)
    if attributes.get("version") == "0.1":
        return parse_header_0_1(attributes)
    header = parse_header(attributes)
    check_header(files, data)
    return header


@dataclass(frozen=True)
class FactorFile:
    """An opened factor file. It holds a path and a header, so it may be sent to workers.

    Parameters
    ----------
    path
        The folder or archive.
    header
        Its attributes.
    limits
        What is refused.
    """

    path: Path
    header: CommonHeader
    limits: Limits = DEFAULT_LIMITS

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return self.header.shape

    @property
    def boundary(self) -> tuple[Boundary, ...]:
        """Boundary per axis."""
        return self.header.boundary

    @property
    def terms(self) -> int:
        """Number K of terms."""
        return self.header.terms

    @property
    def is_complex(self) -> bool:
        """Whether the factors, and so the volumes, are complex."""
        return self.header.dtype.startswith("complex")

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the operator that was fitted."""
        return self.header.fingerprint

    @cached_property
    def spec(self) -> OperatorSpec | None:
        """The operator that was fitted, with its arrays; None where the file has none.

        Building it is the caller's decision: a spec of kind 'python' names code to import.

        Raises
        ------
        FactorFileError
            The stored operator is damaged, or is not the one of the fingerprint.
        """
        if self.header.operator is None:
            return None
        prefix = "operator/"
        with damage_reported(self.path), stored_files(self.path) as files:
            arrays = {
                name.removeprefix(prefix): self._array(files, name).read()
                for name in self.header.arrays
                if name.startswith(prefix)
            }
            spec = spec_from_document(dict(self.header.operator), arrays)
            if spec.fingerprint != self.fingerprint:
                msg = f"operator must have the fingerprint {self.fingerprint}, "
                raise CorruptFileError(msg + f"got {spec.fingerprint}")
        return spec

    @property
    def norm(self) -> SpectralNorm:
        """Spectral norm of the exact normal operator."""
        return SpectralNorm(**self.header.norm.model_dump())

    @property
    def num_files(self) -> int:
        """Number of files that it consists of."""
        return len(self._sizes)

    @property
    def num_bytes(self) -> int:
        """Bytes of these files; every one is looked up once."""
        return sum(self._sizes)

    @cached_property
    def _sizes(self) -> list[int]:
        with damage_reported(self.path), stored_files(self.path) as files:
            return [files.size(name) or 0 for name in files.names()]

    @property
    def metadata(self) -> FactorMetadata:
        """What was said about the factors when they were saved; reads the operator's arrays."""
        return FactorMetadata(
            spec=self.spec,
            fingerprint=self.fingerprint,
            norm=self.norm,
            adjointness=self.header.adjointness,
            report=dict(self.header.report),
            voxel_mm=self.header.voxel_mm,
            command=self.header.command,
        )

    def check_operator(self, spec: OperatorSpec) -> None:
        """Raise MismatchError, naming both fingerprints, unless `spec` is what was fitted."""
        if spec.fingerprint != self.fingerprint:
            msg = (
                f"factors must belong to the operator {spec.fingerprint}, got {self.path} fitted "
                f"to {self.fingerprint}; fit this operator, or pass the one that was fitted"
            )
            raise MismatchError(msg)

    def load(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Factors:
        """Read all factors.

        Raises
        ------
        FactorFileError
            A chunk is missing or damaged.
        """
        with damage_reported(self.path), stored_files(self.path) as files:
            values = self._tensor(files, "kernel", None)
            kernel = LagKernel(values, self.shape, self.boundary)
            u, v = (self._image(files, name, None) for name in ("u", "v"))
            factors = Factors(kernel, u, v)
        return factors.to(device, dtype)

    def load_kernel(self) -> LagKernel:
        """Read the kernels only; raises as `load`."""
        with damage_reported(self.path), stored_files(self.path) as files:
            return LagKernel(self._tensor(files, "kernel", None), self.shape, self.boundary)

    def read_diagonal(self, name: Literal["u", "v"], patch: Patch) -> torch.Tensor | None:
        """Read a patch of `u` or `v`, ``(terms, *patch.shape)``; None where it is all ones.

        Raises as `restrict`.
        """
        patch.check_inside(self.shape)
        with damage_reported(self.path), stored_files(self.path) as files:
            return self._image(files, name, patch.slices)

    def restrict(
        self,
        patch: Patch,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Factors:
        """Read the factors of one patch: those of `restrict(load(), patch)`, bit for bit.

        Terms that vanish on the patch are kept here, so that all patches have as many.

        Only the chunks of `u` and `v` that the patch meets are read, and those of the kernel
        that hold lags which two voxels of the patch can have.

        Raises
        ------
        InputError
            The patch does not lie inside the grid.
        FactorFileError
            One of these chunks is missing or damaged.
        """
        patch.check_inside(self.shape)
        with damage_reported(self.path), stored_files(self.path) as files:
            values = self._tensor(files, "kernel", self._lags_of(patch))
            kernel = LagKernel(values, self.shape, self.boundary).restricted(patch.shape)
            u, v = (self._image(files, name, patch.slices) for name in ("u", "v"))
            factors = Factors(kernel, u, v)
        return factors.to(device, dtype)

    def _lags_of(self, patch: Patch) -> tuple[slice, ...]:
        """Return the central lags that the patch meets; of a periodic axis all, if they wrap."""
        region = []
        for p, length, end in zip(patch.shape, self.header.lags, self.boundary, strict=True):
            support = min(length // 2, p - 1)
            wraps = end == "periodic" and 2 * support + 1 >= length
            centre = slice(length // 2 - support, length // 2 + support + 1)
            region.append(slice(0, length) if wraps else centre)
        return tuple(region)

    def _image(self, files: StoredFiles, name: str, region: Region | None) -> torch.Tensor | None:
        return self._tensor(files, name, region) if name in self.header.arrays else None

    def _tensor(self, files: StoredFiles, name: str, region: Region | None) -> torch.Tensor:
        """Read a factor; `region` leaves out the terms, all of which are read."""
        array = self._array(files, name)
        values = array.read(None if region is None else (slice(0, array.shape[0]), *region))
        return torch.from_numpy(_writable(values))

    def _array(self, files: StoredFiles, name: str) -> CheckedArray:
        return CheckedArray(files, name, self.header.arrays[name], self.limits)


def _writable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.flags.writeable else values.copy()
