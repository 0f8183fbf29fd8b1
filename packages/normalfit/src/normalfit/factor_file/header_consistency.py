"""What in a header contradicts what else in it, with the places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.factor_file.header import FACTOR_DTYPES, FACTORS, MAX_TERMS, expected_chunks

if TYPE_CHECKING:
    from normalfit.factor_file.header import ArrayEntry, CommonHeader, Problem


def contradictions(header: CommonHeader) -> list[Problem]:
    """Return every contradiction of a header, before anything is allocated."""
    axes = len(header.shape)
    lengths = {"boundary": header.boundary, "voxel_mm": header.voxel_mm}
    if header.check is not None:
        lengths |= {"check.offset": header.check.offset, "check.shape": header.check.shape}
    problems = [
        (name, f"must have {axes} entries, one per axis of {header.shape}, got {len(value)}")
        for name, value in lengths.items()
        if value is not None and len(value) != axes
    ]
    if "kernel" not in header.arrays:
        return [*problems, ("arrays", f"must hold a kernel, got {sorted(header.arrays)}")]
    got = header.arrays["kernel"].shape
    if len(got) != axes + 1 or header.terms > MAX_TERMS:
        wanted = f"must have the shape (terms, *lags), at most {MAX_TERMS} terms, got {got}"
        return [*problems, ("arrays.kernel", wanted)]
    if problems:
        return problems
    for name, entry in header.arrays.items():
        problems += _array_problems(header, name, entry)
    return [*problems, *_lag_problems(header), *_check_problems(header)]


def _array_problems(header: CommonHeader, name: str, entry: ArrayEntry) -> list[Problem]:
    problems = []
    known = name in FACTORS or name in _check_arrays(header)
    field = name.removeprefix("operator/")
    if not known and (field == name or not field.isidentifier()):
        problems.append(f"name must be kernel, u, v or operator/FIELD, got {name!r}")
    if name in FACTORS and entry.dtype not in FACTOR_DTYPES:
        problems.append(f"dtype must be one of {FACTOR_DTYPES}, got {entry.dtype}")
    if name == "kernel" and entry.dtype != header.dtype:
        problems.append(f"must be {header.dtype} as the attribute says, got {entry.dtype}")
    lags_or_shape = header.lags if name == "kernel" else header.shape
    if name in FACTORS and (
        entry.shape[1:] != lags_or_shape or entry.shape[0] not in (1, header.terms)
    ):
        expected = (header.terms, *lags_or_shape)
        problems.append(f"must have the shape {expected}, got {entry.shape}")
    if entry.chunks != expected_chunks(name, entry.shape):
        expected = expected_chunks(name, entry.shape)
        problems.append(f"chunks must be {expected}, got {entry.chunks}")
    return [(f"arrays.{name}", problem) for problem in problems]


def _lag_problems(header: CommonHeader) -> list[Problem]:
    problems = []
    for axis, (n, length, end) in enumerate(
        zip(header.shape, header.lags, header.boundary, strict=True)
    ):
        longest = n if end == "periodic" else 2 * n - 1
        whole = end == "periodic" and length == n
        if not whole and (length % 2 == 0 or length > longest):
            wanted = f"must be odd and at most {longest} on the {end} axis {axis}, got {length}"
            problems.append(("arrays.kernel", f"lags {wanted}"))
    return problems


def _check_arrays(header: CommonHeader) -> dict[str, str]:
    """Return the dtypes of the arrays that the header's check needs."""
    if header.check is None:
        return {}
    is_complex = any(
        entry.dtype.startswith("complex")
        for name, entry in header.arrays.items()
        if name in FACTORS
    )
    dtype = "complex128" if is_complex else "float64"
    return {"check/probe": dtype, "check/response": dtype}


def _check_problems(header: CommonHeader) -> list[Problem]:
    if header.check is None:
        return []
    problems = []
    check = header.check
    for o, p, n in zip(check.offset, check.shape, header.shape, strict=True):
        if o + p > n:
            got = f"offset {check.offset} and shape {check.shape}"
            return [("check", f"must lie inside the grid {header.shape}, got {got}")]
    for name, dtype in _check_arrays(header).items():
        entry = header.arrays.get(name)
        if entry is None:
            problems.append((f"arrays.{name}", "must be there, got none"))
        elif (entry.shape, entry.dtype) != (check.shape, dtype):
            wanted = f"must be {dtype} {check.shape}, got {entry.dtype} {entry.shape}"
            problems.append((f"arrays.{name}", wanted))
    return problems
