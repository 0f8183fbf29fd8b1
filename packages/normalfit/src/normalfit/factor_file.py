"""Factor files: factors and the operator they were fitted to, in a Zarr 3 group, version 0.1.

The layout is described in docs/factor-file.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import zarr

from normalfit.errors import FactorFileError, MismatchError
from normalfit.factor_file_arrays import CheckedArray, damage_reported
from normalfit.factor_file_header import Header, parse_header
from normalfit.factor_file_writer import write_factor_file
from normalfit.factor_metadata import FactorMetadata
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import OperatorSpec, spec_from_document
from normalfit.spectral_norm import SpectralNorm

if TYPE_CHECKING:
    import numpy as np

    from normalfit.grid import Patch
    from normalfit.lag_grid import Boundary

__all__ = ["FactorFile", "FactorMetadata", "load_factors", "open_factors", "save_factors"]


def save_factors(
    path: str | Path, factors: Factors, metadata: FactorMetadata, *, overwrite: bool = False
) -> FactorFile:
    """Write factors to a file and return it, opened.

    The file is written beside `path`, read back and compared bit for bit, and renamed. When
    anything fails, `path` is as it was.

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


def open_factors(path: str | Path) -> FactorFile:
    """Open a factor file: read and check its header, no array.

    Raises
    ------
    FactorFileError
        There is no factor file at `path`, it is damaged, or has another version.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        msg = f"{path} must be a factor file (a folder with a zarr.json), got none"
        raise FactorFileError(msg)
    with damage_reported(path):
        group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
        return FactorFile(path, parse_header(group.attrs.asdict()))


def load_factors(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Factors:
    """Read all factors of a file; `open_factors` also gives what is known about them.

    Raises
    ------
    FactorFileError
        There is no factor file at `path`, it is damaged, or has another version.
    """
    return open_factors(path).load(device, dtype)


@dataclass(frozen=True)
class FactorFile:
    """An opened factor file. It holds a path and a header, so it may be sent to workers.

    Parameters
    ----------
    path
        The folder.
    header
        Its attributes.
    """

    path: Path
    header: Header

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
        with damage_reported(self.path):
            arrays = {
                name.removeprefix(prefix): self._array(name).read()
                for name in self.header.arrays
                if name.startswith(prefix)
            }
            spec = spec_from_document(dict(self.header.operator), arrays)
            if spec.fingerprint != self.fingerprint:
                msg = f"operator must have the fingerprint {self.fingerprint}, "
                raise FactorFileError(msg + f"got {spec.fingerprint}")
        return spec

    @property
    def norm(self) -> SpectralNorm:
        """Spectral norm of the exact normal operator."""
        return SpectralNorm(**self.header.norm.model_dump())

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
        with damage_reported(self.path):
            values = self._tensor("kernel", None)
            kernel = LagKernel(values, self.shape, self.boundary)
            factors = Factors(kernel, self._image("u", None), self._image("v", None))
        return factors.to(device, dtype)

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
        with damage_reported(self.path):
            values = self._tensor("kernel", self._lags_of(patch))
            kernel = LagKernel(values, self.shape, self.boundary).restricted(patch.shape)
            factors = Factors(
                kernel, self._image("u", patch.slices), self._image("v", patch.slices)
            )
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

    def _image(self, name: str, region: tuple[slice, ...] | None) -> torch.Tensor | None:
        return self._tensor(name, region) if name in self.header.arrays else None

    def _tensor(self, name: str, region: tuple[slice, ...] | None) -> torch.Tensor:
        """Read a factor; `region` leaves out the terms, all of which are read."""
        array = self._array(name)
        values = array.read(None if region is None else (slice(0, array.shape[0]), *region))
        return torch.from_numpy(_writable(values))

    def _array(self, name: str) -> CheckedArray:
        return CheckedArray(self.path, name, self.header.arrays[name])


def _writable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.flags.writeable else values.copy()
