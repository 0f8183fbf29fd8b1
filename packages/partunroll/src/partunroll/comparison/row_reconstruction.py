"""reconstruct_row: the test samples of a row, in the process of its own that `row_process` is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.devices import resolve_device
from partunroll.comparison.circumstances import circumstances
from partunroll.comparison.peak_memory import begin_peak_memory, peak_memory
from partunroll.comparison.row_job import FINISHED
from partunroll.comparison.row_solver import MethodSolver, NetworkSolver
from partunroll.completed_parts import CompletedParts
from partunroll.durable_file import written_durably
from partunroll.errors import InputError, NotFiniteError
from partunroll.store.data_store import DataStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from partunroll.comparison.row_job import ReconstructJob
    from partunroll.comparison.row_solver import Solve, Solver


def volume_file(folder: Path, sample: str) -> Path:
    """Return where the reconstruction of a sample is."""
    return folder / f"{sample}.npy"


def read_volume(folder: Path, sample: str) -> torch.Tensor:
    """Return the reconstruction of a sample, ``(*domain)``.

    Raises
    ------
    InputError
        It is not there, or damaged.
    """
    path = volume_file(folder, sample)
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path} must be a readable file, got: {error}; remove it and run again"
        raise InputError(msg) from error


def reconstruct_row(job: ReconstructJob) -> None:
    """Reconstruct what is missing; record time and peak memory of every sample.

    Loading, imports, choosing options on the validation samples, the norm and a first
    application of ``A*A`` are not in the time; choosing and the norm are not in the peak.
    """
    parts, device = CompletedParts(job.folder), resolve_device(job.device)
    solver: Solver = (
        NetworkSolver(job, device) if job.method is None else MethodSolver(job, parts, device)
    )
    store = DataStore.open(job.tested)
    names: list[str] = []
    for column, operators in job.columns.items():
        for operator in operators:
            samples = [s.id for s in store.split("test") if s.operator == operator]
            names += samples
            missing = [s for s in samples if not is_reconstructed(job.folder, s)]
            if missing:
                solve = solver.prepared(column, operator)
                begin_peak_memory(device)  # choosing holds every validation sample
                _reconstruct(missing, store, solve, parts, device)
    records = {name: parts.read(_record(name)) or {} for name in names}
    choices = {column: parts.read(f"choice-{i}") for i, column in enumerate(job.columns)}
    parts.write(
        FINISHED,
        {
            "seconds": {name: record["seconds"] for name, record in records.items()},
            "peak_bytes": max(record["peak_bytes"] for record in records.values()),
            "threads": torch.get_num_threads(),
            "made_with": circumstances(device),
            "choices": {column: found for column, found in choices.items() if found},
        },
    )


def is_reconstructed(folder: Path, sample: str) -> bool:
    """Return whether a sample is there, whole."""
    return (
        CompletedParts(folder).read(_record(sample)) is not None
        and volume_file(folder, sample).is_file()
    )


def _reconstruct(
    samples: Sequence[str],
    store: DataStore,
    solve: Solve,
    parts: CompletedParts,
    device: torch.device,
) -> None:
    for sample in samples:
        y, x0 = (
            torch.from_numpy(store.read(sample, array)).to(device)
            for array in ("measurements", "initial_estimate")
        )
        started = time.perf_counter()
        x = solve(y, x0).cpu()  # waits for the GPU
        seconds = time.perf_counter() - started
        if not bool(x.isfinite().all()):
            msg = f"reconstruction of {sample} must be finite, got NaN or infinity"
            raise NotFiniteError(msg)
        path = volume_file(parts.folder, sample)
        with written_durably(path) as fresh, fresh.open("wb") as file:
            np.save(file, x.numpy())
        record: dict[str, Any] = {"seconds": seconds, "peak_bytes": peak_memory(device)}
        parts.write(_record(sample), record)


def _record(sample: str) -> str:
    return f"sample-{sample}"
