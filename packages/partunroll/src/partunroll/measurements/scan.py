"""Scan: measurements read for one operator, in the units of training, with an initial estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from normalfit.operators.projection_operator import ProjectionOperator
from partunroll.errors import InputError, MismatchError
from partunroll.initial.initial_estimate import (
    estimate_method,
    initial_estimate,
    least_squares_estimate,
)
from partunroll.initial.ramp_filter import check_window
from partunroll.measurements.undersampling import check_sampled
from partunroll.volumes.array_file import read_array
from partunroll.volumes.resampling import HIGH_PERCENTILE
from partunroll.volumes.volume_file import VOLUME_KEYS, of_shape, read_measurements, read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from normalfit.linear_operator import LinearOperator
    from normalfit.specs import OperatorSpec
    from partunroll.initial.initial_estimate import Method

INVERSE_CRIME = "the measurements were simulated on the reconstruction's own grid, an inverse crime"
USUAL_INTENSITIES = (0.2, 5.0)  # the objects of training reach about 1; our choice

Intensity = float | Literal["auto"] | None


@dataclass(frozen=True, eq=False)
class Scan:
    """What a reconstruction starts from.

    Parameters
    ----------
    operator
        ``A``.
    measurements, initial_estimate
        ``y`` and ``x0``, divided by `intensity_per_mm`.
    intensity_per_mm
        Attenuation in 1/mm that a value of one stands for; None where nothing was divided.
    initial_method
        How ``x0`` was made, in words; None where it was read.
    attributes
        What the file of the measurements says about them.
    notes
        What the user should know, a sentence each.
    """

    operator: LinearOperator
    measurements: torch.Tensor
    initial_estimate: torch.Tensor
    intensity_per_mm: float | None
    initial_method: str | None
    attributes: Mapping[str, Any]
    notes: tuple[str, ...]


@torch.no_grad()
def load_scan(
    spec: OperatorSpec,
    measurements: Path,
    *,
    initial: Path | None = None,
    window: str = "hann",
    cutoff: float = 1.0,
    method: Method = "auto",
    iterations: int | None = None,
    intensity_per_mm: Intensity = None,
    backend: str | None = None,
    device: torch.device | str = "cpu",
) -> Scan:
    """Read measurements and read or make the initial estimate.

    Parameters
    ----------
    spec
        The operator.
    measurements
        File of ``y``; those of a data store are in the units of training.
    initial
        File of ``x0``, in the unit of `measurements`; None makes it.
    window, cutoff, method
        As for `initial_estimate`; as in training.
    iterations
        Of least squares, where that is the method; None: as in training.
    intensity_per_mm
        What measurements in another unit are divided by; 'auto' takes the 99.9th percentile of
        the initial estimate, as `prepare` does; None leaves them as they are.
    backend, device
        Where projections are computed; the backend replaces that of the spec.

    Raises
    ------
    InputError
        A file cannot be read, has another shape than the operator's, or holds NaN.
    MismatchError
        A file says that it belongs to another operator; both fingerprints are named.
    """
    operator, y, found = load_measurements(spec, measurements, backend, device)
    if initial is not None:
        attributes = read_array(initial, VOLUME_KEYS).attributes
        check_fingerprint("initial estimate", attributes, spec)
        values = read_volume(initial, complex_allowed=operator.is_complex)[0]
        x0 = _of_shape("initial estimate", values, operator.domain.shape)
        x0, how = x0.to(device), None
    else:
        check_window(window, cutoff)
        x0, how = _estimate(operator, y, window, cutoff, method, iterations)
    reached = float(np.percentile(x0.abs().cpu().numpy(), HIGH_PERCENTILE))
    intensity = reached if intensity_per_mm == "auto" else intensity_per_mm
    if intensity is not None:
        check_intensity(intensity)
        y, x0, reached = y / intensity, x0 / intensity, reached / intensity
    return Scan(operator, y, x0, intensity, how, found, scan_notes(found, reached))


def load_measurements(
    spec: OperatorSpec,
    measurements: Path,
    backend: str | None = None,
    device: torch.device | str = "cpu",
) -> tuple[LinearOperator, torch.Tensor, Mapping[str, Any]]:
    """Return the operator, the measurements as they were read, and what their file says.

    Raises
    ------
    InputError, MismatchError
        As `load_scan`, about measurements.
    """
    file = read_measurements(measurements)
    check_fingerprint("measurements", file.attributes, spec)
    operator = spec.build(backend)
    y = _of_shape("measurements", file.values, operator.range.shape).to(device)
    if y.is_complex() and isinstance(operator, ProjectionOperator):
        msg = (
            f"measurements must be real for {spec.kind}, got complex ones in {measurements}; "
            "give line integrals, or the operator that measured these"
        )
        raise InputError(msg)
    check_sampled(operator, y)
    return operator, y, file.attributes


def parse_intensity(text: str | None) -> Intensity:
    """Return what ``--intensity-per-mm`` means: a number, 'auto', or nothing.

    Raises
    ------
    InputError
        It is none of these.
    """
    if text is None or text == "auto":
        return "auto" if text else None
    try:
        return float(text)
    except ValueError as error:
        msg = f"intensity_per_mm must be a number or 'auto', got {text!r}"
        raise InputError(msg) from error


def check_fingerprint(name: str, attributes: Mapping[str, Any], spec: OperatorSpec) -> None:
    """Raise MismatchError if a file says that it belongs to another operator."""
    found = attributes.get("fingerprint")
    if found is not None and found != spec.fingerprint:
        msg = f"{name} must belong to the operator {spec.fingerprint}, got those of {found}"
        raise MismatchError(msg)


def _estimate(
    operator: LinearOperator,
    y: torch.Tensor,
    window: str,
    cutoff: float,
    method: Method,
    iterations: int | None,
) -> tuple[torch.Tensor, str]:
    """Return the initial estimate and how it was made, in words."""
    used = estimate_method(operator, method)
    if used == "least-squares" and cutoff != 1:
        msg = f"cutoff must be left out with least squares, got {cutoff:g}"
        raise InputError(msg)
    if iterations is not None and (used != "least-squares" or iterations < 1):
        msg = f"iterations must be at least 1, of least squares, got {iterations} with {used}"
        raise InputError(msg)
    if iterations is not None:
        return least_squares_estimate(
            operator, y, iterations
        ), f"{iterations} steps of least squares"
    x0 = initial_estimate(operator, y, window, method, cutoff)
    if used == "least-squares":
        return x0, "least squares"
    reach = "" if cutoff == 1 else f", cutoff {cutoff:g}"
    return x0, f"{used.upper()}, window {window}{reach}"


def _of_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(of_shape(name, values, shape))


def check_intensity(intensity: float) -> None:
    """Raise InputError unless an intensity is a positive number."""
    if not (np.isfinite(intensity) and intensity > 0):
        msg = f"intensity_per_mm must be a positive number, got {intensity}"
        raise InputError(msg)


def scan_notes(attributes: Mapping[str, Any], reached: float) -> tuple[str, ...]:
    """Return what the user should know of a scan whose initial estimate reaches so far."""
    notes = (INVERSE_CRIME,) if attributes.get("inverse_crime") else ()
    low, high = USUAL_INTENSITIES
    if low <= reached <= high:
        return notes
    return (
        *notes,
        f"the initial estimate reaches {reached:.3g}, where the objects of training reach about "
        "1; are the measurements in another unit? see intensity_per_mm",
    )
