"""Writing factor files: beside the target, checked bit for bit, then put in its place."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr

from normalfit.errors import CorruptFileError, InputError, MismatchError
from normalfit.factor_file.archive import check_seal, is_archive_name, pack
from normalfit.factor_file.arrays import CheckedArray, damage_reported, write_array
from normalfit.factor_file.check_vector import make_check
from normalfit.factor_file.header import VERSION
from normalfit.factor_file.header_parsing import attributes_of, is_optional, make_header
from normalfit.factor_file.limits import DEFAULT_LIMITS, Limits
from normalfit.factor_file.manifest import HEADER, MANIFEST, parse_manifest, write_manifest
from normalfit.factor_file.mirrored import HERMITIAN, hermitian_deviation
from normalfit.factor_file.stored_files import FolderFiles, ZipFiles, stored_files
from normalfit.written_beside import check_output, written_beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from normalfit.factor_file.header import ArrayEntry
    from normalfit.factor_file.metadata import FactorMetadata
    from normalfit.factor_file.stored_files import StoredFiles
    from normalfit.factors import Factors

_Arrays = dict[str, np.ndarray[Any, Any]]
_NO_LIMITS = Limits(2**63, 2**63, 2**63, 2**63)


def write_factor_file(
    path: str | Path,
    factors: Factors,
    metadata: FactorMetadata,
    *,
    overwrite: bool = False,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write a factor file of version 1.0; see `normalfit.factor_file.save_factors`.

    Parameters
    ----------
    more
        Further keys of the header, which win over the writer's own.
    """
    path = Path(path)
    arrays = _collect(factors, metadata)
    check_factor_output(path, overwrite=overwrite)
    with written_beside(path, overwrite=overwrite) as fresh:
        packed = is_archive_name(path)
        folder = fresh.with_name("unpacked") if packed else fresh
        _write_folder(folder, arrays, factors, metadata, more or {})
        if packed:
            pack(folder, fresh)
            with damage_reported(fresh):
                check_seal(fresh)
                _check_packed(folder, fresh)
        _flush(fresh)


def check_factor_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before anything is computed.

    Raises
    ------
    InputError
        As `check_output`, or `overwrite` is set and something else than a factor file is there:
        a wrong name must not cost a folder.
    """
    check_output(path, overwrite=overwrite)
    if not os.path.lexists(path):
        return
    try:
        with stored_files(path) as files:
            attributes_of(files.read(HEADER, DEFAULT_LIMITS))
            strangers = _strangers(files)
    except Exception as error:  # whatever it is, it is no factor file
        msg = f"overwrite must be of a factor file, got {path}; move it away first"
        raise InputError(msg) from error
    if strangers:
        msg = f"overwrite must lose nothing but a factor file, got {path} with {strangers[0]}"
        raise InputError(msg + "; move it away first")


def _strangers(files: StoredFiles) -> list[str]:
    """Return the files that the manifest does not name; none where there is no manifest."""
    if files.size(MANIFEST) is None:
        return []
    known = parse_manifest(files.read(MANIFEST, DEFAULT_LIMITS))
    return sorted(set(files.names()) - set(known) - {MANIFEST})


def _collect(factors: Factors, metadata: FactorMetadata) -> _Arrays:
    """Return the arrays of the file by name; refuse what a file cannot hold."""
    tensors = {"kernel": factors.kernel.values, "u": factors.u, "v": factors.v}
    arrays: _Arrays = {}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.ndim != len(factors.shape) + 1:
            msg = f"{name} must have no batch axes in a file, got {tuple(tensor.shape)}"
            raise InputError(msg)
        if not bool(torch.isfinite(tensor).all()):
            msg = f"{name} must be finite, got NaN or infinity; the fit did not converge"
            raise InputError(msg)
        arrays[name] = tensor.detach().resolve_conj().resolve_neg().cpu().numpy()
    if metadata.spec is None:
        return arrays
    if metadata.fingerprint != metadata.spec.fingerprint:
        msg = (
            f"fingerprint must be the spec's, {metadata.spec.fingerprint}, "
            f"got {metadata.fingerprint}"
        )
        raise MismatchError(msg)
    return arrays | {f"operator/{name}": array for name, array in metadata.spec.arrays.items()}


def _write_folder(
    folder: Path,
    arrays: _Arrays,
    factors: Factors,
    metadata: FactorMetadata,
    more: Mapping[str, Any],
) -> None:
    check = make_check(factors.to("cpu"))
    arrays = arrays | {"check/probe": check.probe, "check/response": check.response}
    root = zarr.create_group(folder, zarr_format=3)
    for group in sorted({name.partition("/")[0] for name in arrays if "/" in name}):
        root.create_group(group)
    entries = {name: write_array(root, name, values) for name, values in arrays.items()}
    with damage_reported(folder), FolderFiles(folder) as files:
        kernel = CheckedArray(files, "kernel", entries["kernel"], _NO_LIMITS)
        deviation = hermitian_deviation(kernel)
    known = {
        "hermitian": deviation <= HERMITIAN,
        "check": check.entry.model_dump(),
        **_facts(factors, metadata, entries),
    }
    document = {key: value for key, value in {**known, **more}.items() if not is_optional(value)}
    optional = {key: value for key, value in more.items() if is_optional(value)}
    header = make_header(document)
    root.attrs.put({**header.model_dump(mode="json"), **optional})
    with damage_reported(folder), FolderFiles(folder) as files:
        for name, entry in header.arrays.items():
            _check_written(CheckedArray(files, name, entry, _NO_LIMITS), name, arrays[name])
    write_manifest(folder)


def _facts(
    factors: Factors, metadata: FactorMetadata, entries: Mapping[str, ArrayEntry]
) -> dict[str, Any]:
    spec = metadata.spec
    return {
        "version": VERSION,
        "shape": factors.shape,
        "voxel_mm": metadata.voxel_mm,
        "boundary": factors.boundary,
        "dtype": entries["kernel"].dtype,
        "arrays": {name: entry.model_dump() for name, entry in entries.items()},
        "operator": None if spec is None else spec.document(),
        "fingerprint": metadata.fingerprint,
        "norm": {
            "value": float(metadata.norm.value),
            "converged": bool(metadata.norm.converged),
            "iterations": int(metadata.norm.iterations),
        },
        "adjointness": float(metadata.adjointness),
        "report": metadata.report,
        "versions": versions(),
        "command": metadata.command,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of what writes a file."""
    packages = ("normalfit", "torch", "numpy", "zarr")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {**found, "python": platform.python_version()}


def _check_written(array: CheckedArray, name: str, values: np.ndarray[Any, Any]) -> None:
    """Read everything back and compare it bit for bit, so that a bad disk is seen now."""
    for region in array.regions:
        if array.read(region).tobytes() != values[region].tobytes():
            msg = f"{name} must read back as it was written, got other bytes"
            raise CorruptFileError(msg)


def _check_packed(folder: Path, archive: Path) -> None:
    with FolderFiles(folder) as wanted, ZipFiles(archive) as found:
        if wanted.names() != found.names():
            msg = f"archive must hold {len(wanted.names())} files, got {len(found.names())}"
            raise CorruptFileError(msg)
        for name in wanted.names():
            with wanted.open(name) as a, found.open(name) as b:
                if a.read() != b.read():
                    msg = f"{name} must read back as it was written, got other bytes"
                    raise CorruptFileError(msg)


def _flush(path: Path) -> None:
    """Have the system write a file or a folder to the disk before it gets its name."""
    places = [*path.rglob("*"), path] if path.is_dir() else [path]
    for place in places:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
