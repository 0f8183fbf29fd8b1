"""reconstruct_to_file: a reconstruction out of files, checked before anything is computed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from normalfit.devices import resolve_device
from normalfit.factor_file import open_factors
from normalfit.written_beside import check_output
from partunroll.checkpoint import load_checkpoint
from partunroll.errors import InputError, MismatchError
from partunroll.reconstruction import checked_refresh, reconstruct
from partunroll.reconstruction_file import InitialFacts, ReconstructionFacts, save_reconstruction
from partunroll.scan import load_scan

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from rich.progress import Progress

    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec
    from partunroll.blended_patches import Overlap
    from partunroll.checkpoint import Checkpoint, TrainedOperator
    from partunroll.initial_estimate import Method
    from partunroll.reconstruction import Normal, Reconstruction
    from partunroll.reconstruction_file import ReconstructionFile
    from partunroll.scan import Intensity, Scan
    from partunroll.windows import BlendKind


def reconstruct_to_file(
    spec: OperatorSpec,
    checkpoint: Path,
    factors: Path | None,
    measurements: Path,
    output: Path,
    *,
    initial: Path | None = None,
    window: str | None = None,
    method: Method | None = None,
    intensity_per_mm: Intensity = None,
    stages: Literal[1, 2] = 2,
    normal: Normal = "exact",
    patch_normal: Normal | None = None,
    refresh: int | None = None,
    patch_shape: int | tuple[int, ...] | None = None,
    overlap: Overlap = None,
    stride: int | tuple[int, ...] | None = None,
    blend: BlendKind = "hann",
    batch: int = 2,
    backend: str | None = None,
    device: str = "auto",
    command: str | None = None,
    progress: Progress | None = None,
) -> ReconstructionFile:
    """Reconstruct measurements with a trained network and write a reconstruction file.

    Parameters
    ----------
    spec
        The operator that measured; the network must have been trained with it.
    checkpoint, factors, measurements
        Files; the factors may be None where only the exact ``A*A`` is used.
    output
        A new reconstruction file. Its volumes are in the unit of the measurements.
    initial, intensity_per_mm, backend
        As for `load_scan`.
    window, method
        As for `load_scan`; None: as in training.
    stages, normal, refresh, overlap, stride, blend, batch, progress
        As for `reconstruct`.
    patch_normal, patch_shape
        As for `reconstruct`; None: as in training.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    command
        The command line, for the record.

    Raises
    ------
    InputError
        A file or an option does not meet its requirement, or the output exists.
    MismatchError
        Operator, factors, checkpoint and measurements do not belong together.
    CheckpointError
        The checkpoint cannot be read.
    """
    check_output(output)
    if initial is not None and (window or method):
        msg = f"window and method must be left out with an initial estimate, got {window}, {method}"
        raise InputError(msg)
    where = resolve_device(device)
    trained_network = load_checkpoint(checkpoint)
    trained = trained_network.operator(spec.fingerprint)
    file = None if factors is None else _matching_factors(factors, spec, trained)
    settings: dict[str, Any] = {
        "patch_shape": trained_network.patch_shape if patch_shape is None else patch_shape,
        "overlap": overlap,
        "stride": list(stride) if isinstance(stride, tuple) else stride,
        "blend": blend,
        "stages": stages,
        "normal": normal,
        "patch_normal": trained_network.normal if patch_normal is None else patch_normal,
        "refresh": checked_refresh(normal, refresh),
        "batch": batch,
    }
    method = method or ("least-squares" if trained.initial_method == "least-squares" else "fdk")
    if window and method == "least-squares":
        msg = f"window must be left out with least squares, as in training, got {window}"
        raise InputError(msg)
    scan = load_scan(
        spec,
        measurements,
        initial=initial,
        window=window or trained.initial_window or "hann",
        method=method,
        intensity_per_mm=intensity_per_mm,
        backend=backend,
        device=where,
    )
    result = reconstruct(
        trained_network.build_network(where),
        scan.operator,
        scan.measurements,
        None if file is None else file.load(where),
        trained.norm,
        scan.initial_estimate,
        **settings,
        progress=progress,
    )
    facts = ReconstructionFacts(
        **_provenance(spec, checkpoint, trained_network, scan, result),
        command=command,
        factors=None if factors is None else str(factors),
        initial_estimate=InitialFacts(
            method=scan.initial_method, path=None if initial is None else str(initial)
        ),
        measurements={"path": str(measurements), **scan.attributes},
        settings={
            **settings,
            "patch_shape": list(result.patch_shape),
            "num_patches": result.num_patches,
            "device": str(where),
        },
    )
    return save_reconstruction(output, _volumes(result, scan), facts)


def _matching_factors(path: Path, spec: OperatorSpec, trained: TrainedOperator) -> FactorFile:
    """Open a factor file that belongs to the operator and has the norm of the training."""
    file = open_factors(path)
    file.check_operator(spec)
    if not math.isclose(file.norm.value, trained.norm, rel_tol=1e-6):
        msg = (
            f"norm of the factors must be the one of the training, {trained.norm:.9g}, "
            f"got {file.norm.value:.9g} in {path}; use the factors of the training"
        )
        raise MismatchError(msg)
    return file


def _provenance(
    spec: OperatorSpec, path: Path, checkpoint: Checkpoint, scan: Scan, result: Reconstruction
) -> dict[str, Any]:
    """Return the facts about operator, network, scan and result."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "operator": spec.document(),
        "fingerprint": spec.fingerprint,
        "norm": checkpoint.operator(spec.fingerprint).norm,
        "checkpoint": {"path": str(path), "sha256": digest, "step": checkpoint.step},
        "intensity_per_mm": scan.intensity_per_mm,
        "iterations": [asdict(iteration) for iteration in result.history],
        "residual_norm": result.residual_norm,
        "seconds": list(result.seconds),
        "voxel_mm": scan.operator.domain.voxel_mm,
        "notes": list(scan.notes),
    }


def _volumes(result: Reconstruction, scan: Scan) -> dict[str, Any]:
    """Return the volumes in the unit of the measurements."""
    scale = scan.intensity_per_mm or 1.0
    volumes: dict[str, torch.Tensor] = {
        "reconstruction": result.final,
        "stage1": result.stage1,
        "initial_estimate": result.initial_estimate,
    }
    return {name: (scale * volume).cpu().numpy() for name, volume in volumes.items()}
