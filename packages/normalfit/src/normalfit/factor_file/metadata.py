"""FactorMetadata: what a factor file says about its factors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normalfit.specs import OperatorSpec
    from normalfit.spectral_norm import SpectralNorm


@dataclass(frozen=True)
class FactorMetadata:
    """What a factor file says about its factors, besides their values.

    Parameters
    ----------
    spec
        The operator that was fitted; None where it has no YAML form. Then nobody can build
        it from the file, and only the fingerprint tells which it was.
    fingerprint
        Fingerprint of the operator; where there is a spec, the spec's.
    norm
        Spectral norm of the exact ``N = A*A``.
    adjointness
        ``|<Ax, y> - <x, A*y>| / (|Ax| |y|)`` of the operator that was fitted.
    report
        The fit report, as JSON values.
    voxel_mm
        Side lengths of a voxel, one per axis; None where samples have no size.
    command
        The command line that made the factors; None where there was none.
    """

    spec: OperatorSpec | None
    fingerprint: str
    norm: SpectralNorm
    adjointness: float
    report: dict[str, Any] = field(default_factory=dict)
    voxel_mm: tuple[float, ...] | None = None
    command: str | None = None
