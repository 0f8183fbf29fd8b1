"""Writing factor files: beside the target, checked bit for bit, then renamed."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr

from normalfit.errors import FactorFileError, InputError, MismatchError
from normalfit.factor_file_arrays import CheckedArray, damage_reported, write_array
from normalfit.factor_file_header import FACTOR_DTYPES, FORMAT, Header, make_header, to_attributes
from normalfit.written_beside import written_beside

if TYPE_CHECKING:
    from normalfit.factor_metadata import FactorMetadata
    from normalfit.factors import Factors

_Arrays = dict[str, np.ndarray[Any, Any]]


def write_factor_file(
    path: str | Path, factors: Factors, metadata: FactorMetadata, *, overwrite: bool = False
) -> None:
    """Write a factor file of version 0.1; see `normalfit.factor_file.save_factors`."""
    path = Path(path)
    arrays = _collect(factors, metadata)
    if overwrite:
        _check_replaceable(path)
    with written_beside(path, overwrite=overwrite) as fresh:
        entries = _write_arrays(fresh, arrays)
        header = _header(factors, metadata, entries)
        zarr.open_group(fresh, mode="r+").attrs.put(to_attributes(header))
        _check_written(fresh, header, arrays)


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
        if str(tensor.dtype).removeprefix("torch.") not in FACTOR_DTYPES:
            msg = f"{name} must be one of {FACTOR_DTYPES}, got {tensor.dtype}"
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


def _write_arrays(path: Path, arrays: _Arrays) -> dict[str, Any]:
    root = zarr.create_group(path, zarr_format=3)
    if any(name.startswith("operator/") for name in arrays):
        root.create_group("operator")
    return {name: write_array(root, name, values) for name, values in arrays.items()}


def _header(factors: Factors, metadata: FactorMetadata, entries: dict[str, Any]) -> Header:
    spec = metadata.spec
    return make_header(
        {
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
            "versions": _versions(),
            "command": metadata.command,
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
    )


def _versions() -> dict[str, str]:
    packages = ("normalfit", "torch", "numpy", "zarr")
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {**versions, "python": platform.python_version()}


def _check_replaceable(path: Path) -> None:
    """Refuse to overwrite anything but a factor file: a wrong name must not cost a folder."""
    if not path.exists():
        return
    try:
        found = zarr.open_group(path, mode="r", zarr_format=3).attrs.get("format")
    except Exception:  # noqa: BLE001 - whatever it is, it is no factor file
        found = None
    if found != FORMAT:
        msg = f"overwrite must be of a factor file, got {path}; move it away first"
        raise InputError(msg)


def _check_written(path: Path, header: Header, arrays: _Arrays) -> None:
    """Read everything back and compare it bit for bit, so that a bad disk is seen now."""
    with damage_reported(path):
        for name, entry in header.arrays.items():
            if CheckedArray(path, name, entry).read().tobytes() != arrays[name].tobytes():
                msg = f"{name} must read back as it was written, got other bytes"
                raise FactorFileError(msg)
