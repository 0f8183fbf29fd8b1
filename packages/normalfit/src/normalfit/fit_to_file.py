"""fit_to_file: from the description of an operator to a factor file, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.adjointness import adjointness
from normalfit.devices import resolve_device
from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.fitting import fit
from normalfit.progress import no_progress
from normalfit.progress_bar import report_to
from normalfit.spectral_norm import spectral_norm
from normalfit.written_beside import check_output

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as Bars

    from normalfit.factor_file import FactorFile
    from normalfit.specs import OperatorSpec


def fit_to_file(
    spec: OperatorSpec,
    path: str | Path,
    *,
    terms: int = 1,
    boundary: str = "linear",
    method: str = "least-squares",
    probes: int | None = None,
    seed: int = 0,
    device: str = "auto",
    command: str | None = None,
    progress: Bars | None = None,
) -> FactorFile:
    """Build an operator, fit its normal operator, measure its norm, and write a factor file.

    Parameters
    ----------
    spec
        The operator.
    path
        The factor file; it must not exist.
    terms, boundary, method, probes, seed
        As for `normalfit.fitting.fit`; probes None takes the method's default.
    device
        As for `resolve_device`.
    command
        The command line to store.
    progress
        Bars to show the progress with.

    Raises
    ------
    InputError
        `path` exists (refused before anything is computed), or an argument is wrong.
    BackendError
        The device or the operator's backend is not there.
    """
    check_output(path)
    place = resolve_device(device)
    report = no_progress if progress is None else report_to(progress)
    operator = spec.build()
    result = fit(
        operator,
        terms=terms,
        boundary=boundary,
        method=method,
        probes=probes,
        seed=seed,
        device=place,
        progress=report,
    )
    norm = spectral_norm(
        operator.normal, operator.domain.shape, seed=seed, device=place, progress=report
    )
    metadata = FactorMetadata(
        spec=spec,
        fingerprint=spec.fingerprint,
        norm=norm,
        adjointness=adjointness(operator, seed=seed, device=place),
        report=result.report.as_json(),
        voxel_mm=operator.domain.voxel_mm,
        command=command,
    )
    return save_factors(path, result.factors.to("cpu"), metadata)
