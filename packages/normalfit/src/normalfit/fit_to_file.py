"""fit_to_file: from the description of an operator to a factor file, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from normalfit.adjointness import adjointness
from normalfit.devices import resolve_device
from normalfit.factor_file import FactorMetadata, load_factors, save_factors
from normalfit.factor_file.writer import check_factor_output
from normalfit.fit_memory import fit_memory
from normalfit.fitting import DEFAULT_PROBES, HELD_OUT, chosen_model, fit
from normalfit.progress import no_progress
from normalfit.progress_bar import report_to
from normalfit.response_folder import ResponseFolder
from normalfit.spectral_norm import spectral_norm
from normalfit.written_beside import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as Bars

    from normalfit.adam import AdamOptions
    from normalfit.factor_file import FactorFile
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.model import Model
    from normalfit.specs import OperatorSpec


def fit_to_file(
    spec: OperatorSpec,
    path: str | Path,
    *,
    model: Model | str | None = None,
    method: str = "least-squares",
    probes: int | None = None,
    responses: str | Path | None = None,
    batch: int | None = None,
    start: str | Path | None = None,
    options: LeastSquaresOptions | AdamOptions | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str = "auto",
    command: str | None = None,
    progress: Bars | None = None,
    say: Callable[[str], object] | None = None,
    **model_options: Any,  # noqa: ANN401 - checked by Model
) -> FactorFile:
    """Build an operator, fit its normal operator, measure its norm, and write a factor file.

    Parameters
    ----------
    spec
        The operator.
    path
        The factor file, a folder or a ``.zip``; it must not exist.
    model, method, probes, batch, options, seed, **model_options
        As for `normalfit.fitting.fit`.
    responses
        Folder to keep the responses in, new or of an earlier fit of this operator, apart from
        `path`; None: in memory.
    start
        Factor file to go on from, of the same model and grid; None starts from nothing.
    overwrite
        Replace a factor file at `path`.
    device
        As for `resolve_device`.
    command
        The command line to store.
    progress
        Bars to show the progress with.
    say
        Told what memory a least-squares fit needs, before it starts.

    Raises
    ------
    FactorFileError
        `start` is no factor file, or damaged.
    InputError
        `path` exists (and is not to be replaced) or is not apart from `responses` (refused before
        anything is computed), an argument is wrong, or the fit needs more memory than is free.
    BackendError
        The device or the operator's backend is not there.
    """
    check_outputs(Path(path), responses=responses, replaced=Path(path) if overwrite else None)
    check_factor_output(Path(path), overwrite=overwrite)
    wanted = chosen_model(model, method, **model_options)
    place = resolve_device(device)
    report = no_progress if progress is None else report_to(progress)
    operator = spec.build()
    if method == "least-squares":
        memory = fit_memory(
            wanted.suited_to(operator),
            operator.domain.shape,
            probes=(probes or DEFAULT_PROBES[method]) + HELD_OUT,
            in_memory=responses is None,
            dtype=operator.probe_dtype,
        )
        memory.check(place)
        if say is not None:
            say(f"the fit needs up to {memory}")
    result = fit(
        operator,
        model=wanted,
        method=method,
        probes=probes,
        responses=None if responses is None else ResponseFolder(responses, spec.fingerprint),
        batch=batch,
        start=None if start is None else load_factors(start, place),
        options=options,
        seed=seed,
        device=place,
        progress=report,
    )
    norm = spectral_norm(
        operator.normal,
        operator.domain.shape,
        seed=seed,
        device=place,
        dtype=operator.probe_dtype,
        progress=report,
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
    return save_factors(path, result.factors.to("cpu"), metadata, overwrite=overwrite)
