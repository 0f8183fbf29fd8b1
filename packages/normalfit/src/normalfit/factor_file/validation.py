"""validate: every problem of a factor file, with its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.errors import CorruptFileError, FactorFileError, NormalfitError, told
from normalfit.factor_file.archive import check_seal
from normalfit.factor_file.arrays import CheckedArray, check_size
from normalfit.factor_file.check_vector import TOLERANCE, deviation, response_of
from normalfit.factor_file.header import FACTORS
from normalfit.factor_file.header_0_1 import parse_header_0_1
from normalfit.factor_file.header_parsing import attributes_of, check_plain_group, parse_header
from normalfit.factor_file.limits import DEFAULT_LIMITS, Limits
from normalfit.factor_file.manifest import (
    HEADER,
    MANIFEST,
    check_header,
    digest_of,
    parse_manifest,
    seal_of,
)
from normalfit.factor_file.mirrored import HERMITIAN, hermitian_deviation
from normalfit.factor_file.reader import FactorFile
from normalfit.factor_file.stored_files import ZipFiles, stored_files
from normalfit.grid import Patch

if TYPE_CHECKING:
    from normalfit.factor_file.header import CommonHeader
    from normalfit.factor_file.stored_files import StoredFiles

_KNOWN = ("0.1", "1.0")  # a later minor version may hold more


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Parameters
    ----------
    path
        The factor file.
    deep
        Whether every byte was read.
    problems
        Pairs of a place in the file and a text, every one that was found; none: it is sound.
    num_files, num_bytes
        What it consists of.
    """

    path: Path
    deep: bool
    problems: tuple[tuple[str, str], ...]
    num_files: int
    num_bytes: int

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __str__(self) -> str:
        read = "every byte read" if self.deep else "no array read; --deep reads all"
        size = f"{self.num_files} files, {self.num_bytes:,} bytes, {read}"
        if self.is_sound:
            return f"{self.path}: sound ({size})"
        count = f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)} ({size})"
        return "\n".join(
            [f"{self.path}: {count}", *(f"  {p}: {text}" for p, text in self.problems)]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        return {
            "path": str(self.path),
            "deep": self.deep,
            "sound": self.is_sound,
            "problems": [{"place": place, "problem": text} for place, text in self.problems],
            "files": self.num_files,
            "bytes": self.num_bytes,
        }


def validate(
    path: str | Path, *, deep: bool = False, limits: Limits = DEFAULT_LIMITS
) -> Validation:
    """Look for every problem of a factor file.

    Parameters
    ----------
    path
        A folder or a ``.zip``.
    deep
        Read every byte: compare it with the manifest, look for values that are not finite and
        kernels that are not Hermitian though the header says so, compare the operator with its
        fingerprint, and apply the check vector. Without, the header, the arrays' metadata,
        the manifest and the presence and first bytes of every chunk are looked at.
    limits
        What is refused before anything is allocated.
    """
    path = Path(path)
    findings = _Findings()
    with findings.at("."), stored_files(path) as files:
        _validate(files, findings, limits, deep=deep)
        names = files.names()
        sizes = [files.size(name) or 0 for name in names]
        return Validation(path, deep, findings.listed, len(names), sum(sizes))
    return Validation(path, deep, findings.listed, 0, 0)


class _Findings:
    """Collects problems, each once, and goes on after them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}
        self._place = "."

    def add(self, place: str, text: str) -> None:
        self._found[place, text] = None

    def at(self, place: str) -> _Findings:
        """Return a context whose errors are problems of this place."""
        context = _Findings()
        context._found, context._place = self._found, place
        return context

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._found)

    def touch(self, *names: str) -> bool:
        """Whether there is a problem of a file or an array, or below it."""
        return any(
            place == name or place.startswith(f"{name}/")
            for place, _ in self._found
            for name in names
        )

    def __enter__(self) -> _Findings:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, FactorFileError) and error.problems:
            for place, text in error.problems:
                self.add(place, text)
        elif isinstance(error, NormalfitError):
            self.add(self._place, str(error))
        elif isinstance(error, Exception) and not isinstance(error, (MemoryError, PermissionError)):
            self.add(self._place, told(error))  # zarr, numcodecs and json raise many kinds
        else:
            return False
        return True


def _validate(files: StoredFiles, findings: _Findings, limits: Limits, *, deep: bool) -> None:
    if deep and isinstance(files, ZipFiles):
        with findings.at("archive"):
            check_seal(files.path)
    header = None
    with findings.at(HEADER):
        data = files.read(HEADER, limits)
        attributes = attributes_of(data)
        is_old = attributes.get("version") == "0.1"
        if not is_old:
            with findings.at(HEADER):
                check_header(files, data)
        header = parse_header_0_1(attributes) if is_old else parse_header(attributes)
    if header is None or header.version != "0.1":
        _check_manifest(files, findings, limits, deep=deep)
    if header is None:
        return
    arrays = _open_arrays(files, findings, header, limits)
    for name, array in arrays.items():
        _check_chunks(findings, array, deep=deep)
        if name == "kernel" and deep and header.hermitian is not None:
            with findings.at(name):
                _check_hermitian(array, says=header.hermitian)
    if header.version in _KNOWN and set(arrays) == set(header.arrays):
        _check_names(files, arrays, findings, limits)
    if deep and set(arrays) == set(header.arrays):
        _check_meaning(FactorFile(files.path, header, seal_of(files), limits), arrays, findings)


def _check_manifest(files: StoredFiles, findings: _Findings, limits: Limits, *, deep: bool) -> None:
    with findings.at(MANIFEST):
        size = files.size(MANIFEST)
        if size is None:
            findings.add(MANIFEST, "must exist, got none")
            return
        limits.check(MANIFEST, size, "bytes", limits.manifest_bytes)
        with files.open(MANIFEST) as file:
            data = file.read()
        digests = parse_manifest(data)
        there = set(files.names()) - {MANIFEST}
        for name in sorted(set(digests) - there):
            findings.add(name, "must exist, got none")
        for name in sorted(there - set(digests)):
            findings.add(name, f"must be in {MANIFEST}, got a file more")
        for name in sorted(there & set(digests)) if deep else ():
            with findings.at(name):
                if files.size(name) is None:  # reading a pipe or a device would not end
                    findings.add(name, "must be a file, got something else")
                elif digest_of(files, name) != digests[name]:
                    findings.add(name, f"must have the SHA-256 of {MANIFEST}, got another")


def _open_arrays(
    files: StoredFiles, findings: _Findings, header: CommonHeader, limits: Limits
) -> dict[str, CheckedArray]:
    arrays = {}
    for name, entry in header.arrays.items():
        with findings.at(name):
            check_size(name, entry, limits)
            arrays[name] = CheckedArray(files, name, entry, limits)
    return arrays


def _check_chunks(findings: _Findings, array: CheckedArray, *, deep: bool) -> None:
    for region in array.regions:
        (name,) = array.chunk_names(region)
        if findings.touch(name):
            continue
        with findings.at(name):
            problem = array.chunk_problem(name)
            if problem:
                findings.add(name, problem)
            elif deep and not np.isfinite(array.read(region)).all():
                findings.add(name, "must hold finite values, got NaN or infinity")


def _check_names(
    files: StoredFiles, arrays: dict[str, CheckedArray], findings: _Findings, limits: Limits
) -> None:
    """Report files that belong to nothing the header names, and groups that are none."""
    groups = {name.partition("/")[0] for name in arrays if "/" in name}
    known = {HEADER, MANIFEST, *(f"{name}/zarr.json" for name in [*arrays, *groups])}
    for group in groups:
        with findings.at(f"{group}/zarr.json"):
            check_plain_group(files.read(f"{group}/zarr.json", limits))
    for array in arrays.values():
        known.update(array.chunk_names())
    for name in sorted(set(files.names()) - known):
        findings.add(name, "must belong to an array of the header, got a file more")


def _check_hermitian(array: CheckedArray, *, says: bool) -> None:
    found = hermitian_deviation(array)
    if (found <= HERMITIAN) != says:
        wanted = "Hermitian" if says else "other than Hermitian"
        text = f"must be {wanted} as the header says, got a relative deviation of {found:.2g}"
        msg = f"kernels {text}"
        raise CorruptFileError(msg, [("kernel", text)])


def _check_meaning(file: FactorFile, arrays: dict[str, CheckedArray], findings: _Findings) -> None:
    """Check what only all arrays together can tell, as far as they can be read."""
    if not findings.touch("operator"):
        with findings.at("operator"):
            _ = file.spec
    check = file.header.check
    if check is None or findings.touch(*FACTORS, "check"):
        return
    with findings.at("check/response"):
        restricted = file.restrict(Patch(check.offset, check.shape))
        response = response_of(restricted, arrays["check/probe"].read())
        found = deviation(response, arrays["check/response"].read())
        if not found <= TOLERANCE:
            msg = f"must be the factors' to {TOLERANCE:g}, got a relative deviation of {found:.2g}"
            findings.add("check/response", msg)
