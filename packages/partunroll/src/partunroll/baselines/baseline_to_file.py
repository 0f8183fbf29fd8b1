"""baseline_to_file: a baseline's reconstruction of a file of measurements, as a file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from normalfit.devices import resolve_device
from partunroll.baselines.method import KINDS, parse_method
from partunroll.baselines.method_options import method_document
from partunroll.baselines.problem import Problem, estimated_norm
from partunroll.baselines.validation_choice import choose_on_store
from partunroll.errors import InputError, NotFiniteError
from partunroll.initial.initial_estimate import initial_estimate
from partunroll.measurements.scan import check_intensity, load_measurements
from partunroll.store.array_output import check_array_output, save_array
from partunroll.volumes.resampling import HIGH_PERCENTILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.progress import Progress

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.baselines.choice import Choice
    from partunroll.measurements.scan import Intensity


@dataclass(frozen=True)
class BaselineSummary:
    """What a baseline's reconstruction came out as.

    Parameters
    ----------
    path
        Its file.
    shape
        Voxels per axis.
    method
        How it was made, in words.
    residual_norm
        ``‖y − A x‖ / ‖y‖``; None for the root of the sum of squares, which has no phase.
    seconds
        Time of the reconstruction, with the norm and the initial estimate where it needs them.
    choice
        What was tried on validation samples; None: nothing was chosen.
    """

    path: Path
    shape: tuple[int, ...]
    method: str
    residual_norm: float | None
    seconds: float
    choice: Choice | None = None

    def __str__(self) -> str:
        size = " × ".join(map(str, self.shape))
        residual = "" if self.residual_norm is None else f"; residual {self.residual_norm:.4f}"
        line = f"{self.path}: {size}, {self.method}{residual}; {self.seconds:.1f} s"
        if self.choice is None:
            return line
        tried = "\n".join(f"  {tried}" for tried in self.choice.tried)
        return f"{line}\nchosen on validation samples by mean PSNR, of\n{tried}"

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "path": str(self.path),
            "shape": list(self.shape),
            "method": self.method,
            "residual_norm": self.residual_norm,
            "seconds": self.seconds,
            "choice": None if self.choice is None else self.choice.as_json(),
        }


@torch.no_grad()
def baseline_to_file(
    name: str,
    spec: OperatorSpec,
    measurements: Path,
    output: Path,
    *,
    weight: float | None = None,
    iterations: int | None = None,
    factors: Path | None = None,
    denoiser: Path | None = None,
    options: Mapping[str, Any] | None = None,
    config: Path | None = None,
    validation: Path | None = None,
    candidates: Mapping[str, Sequence[Any]] | None = None,
    intensity_per_mm: Intensity = None,
    device: str = "auto",
    command: str | None = None,
    progress: Progress | None = None,
) -> BaselineSummary:
    """Reconstruct a file of measurements by a baseline, and write the volume.

    Parameters
    ----------
    name
        Kind of the method, see `parse_method`.
    spec
        The operator.
    measurements
        File of ``y``.
    output
        A new ``.npy`` or ``.zarr``, in the unit of the measurements.
    weight
        Of tv, or the ridge of cg; relative to the norm of ``A*A``. None: the default.
    iterations, factors, denoiser
        Of the methods that have such an option; None: the default.
    options
        Other options of the method.
    config
        YAML file of options; those above win.
    validation
        A data store; options are chosen on its validation samples of this operator.
    candidates
        Values to choose from, by option; None or none: the usual ones of the method, for the
        options that are not given.
    intensity_per_mm
        What a value of one stands for to denoisers, weights and validation samples, as for
        `load_scan`; None: the measurements are in that unit.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    command
        The command line, for the record.
    progress
        Where to show a bar.

    Raises
    ------
    InputError, MismatchError
        Files or arguments do not meet their requirements, or belong to another operator.
    NotFiniteError
        The method diverged; nothing is written.
    """
    check_array_output(output)
    if weight is not None and not weight >= 0:
        msg = f"weight must be zero or more, got {weight}"
        raise InputError(msg)
    named = {
        "weight": weight,
        "iterations": iterations,
        "factors": None if factors is None else str(factors),
        "denoiser": None if denoiser is None else str(denoiser),
    }
    if twice := [key for key in options or {} if named.get(key) is not None]:
        msg = f"options must be given once, got {', '.join(twice)} twice"
        raise InputError(msg)
    document = method_document(name, config, {**(options or {}), **_given(named)})
    if candidates and validation is None:
        msg = f"candidates must only be given with validation, got {dict(candidates)}"
        raise InputError(msg)
    if validation is None:
        parse_method(document)  # before anything is computed
    target = resolve_device(device)
    operator, y, _ = load_measurements(spec, measurements, device=target)
    intensity = _intensity(operator, y, intensity_per_mm)
    y = y / intensity
    kind = KINDS[name]
    norm = None
    choice = None
    if validation is not None:
        norm = estimated_norm(operator, target)
        choice = choose_on_store(
            document, candidates, validation, spec, operator, norm,
            device=target, progress=progress,
        )  # fmt: skip
        document = dict(choice.document)
    method = parse_method(document)
    started = time.perf_counter()
    problem = Problem.of(
        operator,
        y,
        norm=norm,
        with_norm=kind.needs_norm,
        with_estimate=kind.needs_estimate,
        fingerprint=spec.fingerprint,
    )
    x = method.reconstruct(problem, progress=progress)
    seconds = time.perf_counter() - started
    if not bool(x.isfinite().all()):
        msg = f"reconstruction must be finite, got NaN or infinity from {method}"
        raise NotFiniteError(msg)
    residual = None
    if method.keeps_phase:
        residual = float((y - operator.forward(x)).norm() / y.norm().clamp_min(1e-30))
    attributes = {
        "method": method.model_dump(mode="json"),
        "choice": None if choice is None else choice.as_json(),
        "intensity_per_mm": None if intensity_per_mm is None else intensity,
        "fingerprint": spec.fingerprint,
        "voxel_mm": operator.domain.voxel_mm,
        "command": command,
    }
    save_array(output, (x * intensity).cpu().numpy(), attributes)
    return BaselineSummary(output, tuple(x.shape), str(method), residual, seconds, choice)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _intensity(operator: LinearOperator, y: torch.Tensor, wanted: Intensity) -> float:
    """Return what measurements are divided by, as `load_scan` does."""
    if wanted is None:
        return 1.0
    if wanted == "auto":
        estimate = initial_estimate(operator, y).abs().cpu().numpy()
        wanted = float(np.percentile(estimate, HIGH_PERCENTILE))
    check_intensity(wanted)
    return wanted
