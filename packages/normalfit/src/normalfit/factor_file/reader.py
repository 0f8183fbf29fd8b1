"""FactorFile: an opened file of factors and the operator they were fitted to, a Zarr 3 group.

The layout is described in docs/factor-file.md.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from normalfit.errors import CorruptFileError, MismatchError
from normalfit.factor_file.arrays import CheckedArray, damage_reported
from normalfit.factor_file.limits import DEFAULT_LIMITS, Limits
from normalfit.factor_file.manifest import HEADER, seal_of
from normalfit.factor_file.metadata import FactorMetadata
from normalfit.factor_file.stored_files import stored_files
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import OperatorSpec, spec_from_document
from normalfit.spectral_norm import SpectralNorm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from normalfit.factor_file.arrays import Region
    from normalfit.factor_file.header import CommonHeader
    from normalfit.factor_file.stored_files import StoredFiles
    from normalfit.grid import Patch
    from normalfit.lag_grid import Boundary


@dataclass(frozen=True)
class FactorFile:
    """An opened factor file. It holds a path and a header, so it may be sent to workers.

    Parameters
    ----------
    path
        The folder or archive.
    header
        Its attributes.
    seal
        What `seal_of` gave when it was opened.
    limits
        What is refused.
    """

    path: Path
    header: CommonHeader
    seal: bytes
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
        with self._unchanged() as files:
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
        with self._unchanged() as files:
            values = self._tensor(files, "kernel", None)
            kernel = LagKernel(values, self.shape, self.boundary)
            u, v = (self._image(files, name, None) for name in ("u", "v"))
            factors = Factors(kernel, u, v)
        return factors.to(device, dtype)

    def load_kernel(self) -> LagKernel:
        """Read the kernels only; raises as `load`."""
        with self._unchanged() as files:
            return LagKernel(self._tensor(files, "kernel", None), self.shape, self.boundary)

    def read_diagonal(self, name: Literal["u", "v"], patch: Patch) -> torch.Tensor | None:
        """Read a patch of `u` or `v`, ``(terms, *patch.shape)``; None where it is all ones.

        Raises as `restrict`.
        """
        patch.check_inside(self.shape)
        with self._unchanged() as files:
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
        with self._unchanged() as files:
            values = self._tensor(files, "kernel", self._lags_of(patch))
            kernel = LagKernel(values, self.shape, self.boundary).restricted(patch.shape)
            u, v = (self._image(files, name, patch.slices) for name in ("u", "v"))
            factors = Factors(kernel, u, v)
        return factors.to(device, dtype)

    def check_unchanged(self) -> None:
        """Raise CorruptFileError if another file has taken the place of the one that was opened."""
        with stored_files(self.path) as files:
            if files.size(HEADER) is None or seal_of(files) != self.seal:
                msg = "it must be the file that was opened, got another in its place; open it again"
                raise CorruptFileError(msg)

    @contextmanager
    def _unchanged(self) -> Iterator[StoredFiles]:
        """Yield the files; what was read is refused if they were replaced meanwhile.

        Files are opened by their path one after the other, so else a kernel of one factor file
        could meet the diagonals of another.
        """
        with damage_reported(self.path):
            self.check_unchanged()
            with stored_files(self.path) as files:
                yield files
            self.check_unchanged()

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
