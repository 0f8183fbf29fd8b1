"""estimate_to_file: the initial estimate of a file of measurements, as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from normalfit.devices import resolve_device
from partunroll.measurements.scan import load_scan
from partunroll.store.array_output import check_array_output, save_array

if TYPE_CHECKING:
    from pathlib import Path

    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method


@dataclass(frozen=True)
class EstimateSummary:
    """What an initial estimate came out as.

    Parameters
    ----------
    path
        Its file.
    shape
        Voxels per axis.
    method
        How it was made, in words.
    residual_norm
        ``‖y − A x0‖ / ‖y‖``.
    """

    path: Path
    shape: tuple[int, ...]
    method: str
    residual_norm: float

    def __str__(self) -> str:
        size = " × ".join(map(str, self.shape))
        return (
            f"{self.path}: {size}, {self.method}; residual |y − A x| / |y| {self.residual_norm:.4f}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "path": str(self.path),
            "shape": list(self.shape),
            "method": self.method,
            "residual_norm": self.residual_norm,
        }


def estimate_to_file(
    spec: OperatorSpec,
    measurements: Path,
    output: Path,
    *,
    window: str = "hann",
    cutoff: float = 1.0,
    method: Method = "auto",
    iterations: int | None = None,
    backend: str | None = None,
    device: str = "auto",
    command: str | None = None,
) -> EstimateSummary:
    """Make the initial estimate of a file of measurements and write it.

    Parameters
    ----------
    spec, measurements, window, cutoff, method, iterations, backend
        As for `load_scan`.
    output
        A new ``.npy`` or ``.zarr``.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    command
        The command line, for the record.

    Raises
    ------
    InputError, MismatchError
        As for `load_scan` and `save_array`.
    """
    check_array_output(output)
    scan = load_scan(
        spec,
        measurements,
        window=window,
        cutoff=cutoff,
        method=method,
        iterations=iterations,
        backend=backend,
        device=resolve_device(device),
    )
    y, x0 = scan.measurements, scan.initial_estimate
    residual = float((y - scan.operator.forward(x0)).norm() / y.norm().clamp_min(1e-30))
    attributes = {
        "initial_method": scan.initial_method,
        "fingerprint": spec.fingerprint,
        "voxel_mm": scan.operator.domain.voxel_mm,
        "command": command,
    }
    save_array(output, x0.cpu().numpy(), attributes)
    return EstimateSummary(output, tuple(x0.shape), str(scan.initial_method), residual)
