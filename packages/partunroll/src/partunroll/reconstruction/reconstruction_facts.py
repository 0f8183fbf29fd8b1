"""reconstruction_facts: what the file of a reconstruction says about how it came about."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from partunroll.network.exported_model import digest_of
from partunroll.reconstruction.reconstruction_file import InitialFacts, ReconstructionFacts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from normalfit.specs import OperatorSpec
    from partunroll.measurements.scan import Scan
    from partunroll.network.checkpoint import Checkpoint
    from partunroll.reconstruction.reconstruction_match import Matched
    from partunroll.reconstruction.reconstruction_result import Reconstruction
    from partunroll.reconstruction.stored_scan import StoredScan


def reconstruction_facts(
    spec: OperatorSpec,
    matched: Matched,
    scan: Scan | StoredScan,
    result: Reconstruction[Any],
    *,
    checkpoint: Checkpoint,
    checkpoint_path: Path,
    measurements: Path,
    initial: Path | None,
    settings: Mapping[str, Any],
    circumstances: Mapping[str, Any],
    command: str | None,
) -> ReconstructionFacts:
    """Return how a reconstruction came about, as JSON values.

    Parameters
    ----------
    spec, matched
        The operator, and the factors, norm and notes that belong to it.
    scan, result
        What the reconstruction started from, and what it gave.
    checkpoint, checkpoint_path
        The network, and its file.
    measurements, initial
        Their files; None where the initial estimate was made.
    settings
        The options that decided the result.
    circumstances
        Where and how it was computed, which `settings` does not say.
    command
        The command line; None where there was none.
    """
    return ReconstructionFacts(
        command=command,
        operator=spec.document(),
        fingerprint=spec.fingerprint,
        norm=matched.norm,
        checkpoint={
            "path": str(checkpoint_path),
            "sha256": digest_of(checkpoint_path),
            "step": checkpoint.step,
        },
        factors=None if matched.factors is None else str(matched.factors.path),
        measurements={"path": str(measurements), **scan.attributes},
        initial_estimate=InitialFacts(
            method=scan.initial_method,
            path=None if initial is None else str(initial),
        ),
        intensity_per_mm=scan.intensity_per_mm,
        settings={
            **settings,
            "patch_shape": list(result.patch_shape),
            "num_patches": result.num_patches,
            **circumstances,
        },
        iterations=[asdict(iteration) for iteration in result.history],
        patch_iterations=[asdict(iteration) for iteration in result.patch_history],
        residual_norm=result.residual_norm,
        final_residual_norm=result.final_residual_norm,
        seconds=list(result.seconds),
        voxel_mm=scan.operator.domain.voxel_mm,
        notes=[*matched.notes, *scan.notes],
    )
