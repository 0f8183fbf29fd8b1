"""What a factor file holds, as lines to read and as JSON values."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from normalfit.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.factor_file.reader import FactorFile


def summary(file: FactorFile) -> str:
    """Return a few lines about a factor file: one fact a line, from its header alone."""
    rows = _rows(file)
    width = max(len(name) for name, _ in rows)
    return "\n".join([str(file.path), *(f"  {name:<{width}}  {text}" for name, text in rows)])


def figures(file: FactorFile) -> dict[str, Any]:
    """Return everything that the header says, as JSON values, with the errors on top."""
    header = file.header.model_dump(mode="json")
    errors = {name: header["report"].get(name) for name in ("grid_error", "patch_error")}
    size = {"files": file.num_files, "bytes": file.num_bytes}
    return {"path": str(file.path), **errors, **header, "terms": file.terms, "size": size}


def _rows(file: FactorFile) -> list[tuple[str, str]]:
    header = file.header
    terms = f"{header.terms} term{'s' * (header.terms > 1)}"
    return [
        ("format", f"{header.format} {header.version}"),
        ("operator", f"{_kind(file)}, fingerprint {header.fingerprint}"),
        ("grid", f"{_times(header.shape)}{_voxels(header.voxel_mm)}"),
        ("factors", f"{terms}, {_boundary(header.boundary)}, {_arrays(file)}"),
        ("norm of A*A", _norm(file)),
        ("adjointness", f"{header.adjointness:.2g}"),
        *_report_rows(header.report),
        ("made by", ", ".join([*(f"{n} {v}" for n, v in header.versions.items()), header.created])),
        *([("command", header.command)] if header.command else []),
        ("size", f"{file.num_bytes:,} bytes in {file.num_files} files"),
    ]


def _report_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (name.replace("_", " "), str(estimate))
        for name in ("grid_error", "patch_error")
        if (estimate := _estimate(report.get(name))) is not None
    ]
    if "method" in report:
        rows.append(("fit", _fit(report)))
    return rows


def _estimate(entry: object) -> Estimate | None:
    """Return an entry of the report as an estimate, if that is what it is."""
    names = [field.name for field in fields(Estimate)]
    if not isinstance(entry, dict) or sorted(entry) != sorted(names):
        return None
    numbers = all(_is_figure(value) for value in entry.values())
    return Estimate(**entry) if numbers else None


def _is_figure(value: object) -> bool:
    """Whether a value of the report is a number that a float can hold; JSON has larger ones."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def _fit(report: dict[str, Any]) -> str:
    made = f"{report.get('model')}, {report['method']}"
    text = f"{made}, {report.get('probes')} probes, seed {report.get('seed')}"
    if _is_figure(report.get("seconds")):
        text += f", {report['seconds']:.1f} s"
    return f"{text}; stopped: {report.get('stop_reason')}"


def _kind(file: FactorFile) -> str:
    return str((file.header.operator or {}).get("kind", "unknown kind"))


def _norm(file: FactorFile) -> str:
    norm = file.header.norm
    state = "converged" if norm.converged else "not converged"
    return f"{norm.value:.6g} ({state}, {norm.iterations} iterations)"


def _arrays(file: FactorFile) -> str:
    entries = file.header.arrays
    images = [name for name in ("u", "v") if name in entries]
    return f"kernel of {_times(file.header.lags)} lags{''.join(f', {name}' for name in images)}"


def _boundary(boundary: Sequence[str]) -> str:
    if len(set(boundary)) == 1:
        return f"{boundary[0]} boundary"
    return f"boundary {', '.join(boundary)}"


def _voxels(voxel_mm: Sequence[float] | None) -> str:
    if voxel_mm is None:
        return ""
    return f", voxels of {' × '.join(f'{side:g}' for side in voxel_mm)} mm"


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
