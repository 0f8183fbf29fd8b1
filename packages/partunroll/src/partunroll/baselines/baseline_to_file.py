"""baseline_to_file: a reconstruction without training, of a file, as a file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch

from normalfit.devices import resolve_device
from normalfit.factor_file import open_factors
from normalfit.spectral_norm import spectral_norm
from partunroll.baselines.iterative import (
    CG_ITERATIONS,
    DEFAULT_RIDGE,
    DEFAULT_TV_WEIGHT,
    Baseline,
    cg_reconstruction,
    total_variation,
    zero_filled,
)
from partunroll.errors import InputError
from partunroll.measurements.scan import check_fingerprint
from partunroll.measurements.undersampling import check_sampled
from partunroll.store.array_output import check_array_output, save_array
from partunroll.volumes.volume_file import of_shape, read_measurements

if TYPE_CHECKING:
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec

DEFAULT_ITERATIONS = {"cg": CG_ITERATIONS, "tv": 60}


@dataclass(frozen=True)
class BaselineSummary:
    """What a reconstruction without training came out as.

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
        Time of the reconstruction.
    """

    path: Path
    shape: tuple[int, ...]
    method: str
    residual_norm: float | None
    seconds: float

    def __str__(self) -> str:
        size = " × ".join(map(str, self.shape))
        residual = "" if self.residual_norm is None else f"; residual {self.residual_norm:.4f}"
        return f"{self.path}: {size}, {self.method}{residual}; {self.seconds:.1f} s"

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "path": str(self.path),
            "shape": list(self.shape),
            "method": self.method,
            "residual_norm": self.residual_norm,
            "seconds": self.seconds,
        }


@torch.no_grad()
def baseline_to_file(
    name: Baseline,
    spec: OperatorSpec,
    measurements: Path,
    output: Path,
    *,
    weight: float | None = None,
    iterations: int | None = None,
    factors: Path | None = None,
    device: str = "auto",
    command: str | None = None,
) -> BaselineSummary:
    """Reconstruct a file of measurements without training, and write the volume.

    Parameters
    ----------
    name
        'zero-filled', 'cg' (CG-SENSE for MRI) or 'tv'.
    spec
        The operator.
    measurements
        File of ``y``.
    output
        A new ``.npy`` or ``.zarr``.
    weight
        Of tv, or the ridge of cg; relative to the norm of ``A*A``. None: the default.
    iterations
        Of cg or tv; None: the default.
    factors
        File of symmetric factors that precondition cg.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    command
        The command line, for the record.

    Raises
    ------
    InputError, MismatchError
        Files or arguments do not meet their requirements, or belong to another operator.
    """
    check_array_output(output)
    _check_options(name, weight, iterations, factors)
    target = resolve_device(device)
    file = read_measurements(measurements)
    check_fingerprint("measurements", file.attributes, spec)
    operator = spec.build()
    values = of_shape("measurements", file.values, operator.range.shape)
    y = torch.from_numpy(values).to(target)
    check_sampled(operator, y)
    started = time.perf_counter()
    x, method = _reconstructed(name, operator, y, weight, iterations, factors, spec)
    seconds = time.perf_counter() - started
    residual = None
    if name != "zero-filled":
        residual = float((y - operator.forward(x)).norm() / y.norm().clamp_min(1e-30))
    attributes = {
        "method": method,
        "fingerprint": spec.fingerprint,
        "voxel_mm": operator.domain.voxel_mm,
        "command": command,
    }
    save_array(output, x.cpu().numpy(), attributes)
    return BaselineSummary(output, tuple(x.shape), method, residual, seconds)


def _reconstructed(
    name: Baseline,
    operator: LinearOperator,
    y: torch.Tensor,
    weight: float | None,
    iterations: int | None,
    factors: Path | None,
    spec: OperatorSpec,
) -> tuple[torch.Tensor, str]:
    """Return the volume and how it was made, in words."""
    if name == "zero-filled":
        return zero_filled(operator, y), "zero-filled, root of the sum of squares"
    steps = iterations or DEFAULT_ITERATIONS[name]
    norm = spectral_norm(
        operator.normal, operator.domain.shape, device=y.device, dtype=operator.probe_dtype
    ).value
    if name == "tv":
        used = DEFAULT_TV_WEIGHT if weight is None else weight
        x = total_variation(operator, y, norm, weight=used, iterations=steps)
        return x, f"total variation, weight {used:g}, {steps} iterations"
    loaded = None
    if factors is not None:
        opened = open_factors(factors)
        opened.check_operator(spec)
        loaded = opened.load(y.device)
    used = DEFAULT_RIDGE if weight is None else weight
    found = cg_reconstruction(operator, y, norm, ridge=used, iterations=steps, factors=loaded)
    helped = "" if loaded is None else ", preconditioned"
    return found.x, f"conjugate gradients, ridge {used:g}, {found.iterations} iterations{helped}"


def _check_options(
    name: Baseline, weight: float | None, iterations: int | None, factors: Path | None
) -> None:
    if name not in get_args(Baseline):
        msg = f"baseline must be one of {', '.join(get_args(Baseline))}, got {name!r}"
        raise InputError(msg)
    if name == "zero-filled" and (weight is not None or iterations is not None):
        msg = f"weight and iterations must be left out of zero-filled, got {weight}, {iterations}"
        raise InputError(msg)
    if factors is not None and name != "cg":
        msg = f"factors must only be given for cg, got {factors} with {name}"
        raise InputError(msg)
