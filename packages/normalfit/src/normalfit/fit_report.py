"""FitReport and FitResult: what a fit found, how it got there, and how good it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normalfit.estimate import Estimate
    from normalfit.factors import Factors
    from normalfit.fitted import HistoryPoint
    from normalfit.lag_grid import Boundary


@dataclass(frozen=True)
class FitReport:
    """How factors were fitted, and their error on probes that the fit has not seen.

    Parameters
    ----------
    method
        'least-squares' or 'adam'.
    terms, boundary
        The model.
    probes, held_out
        Training probes (for Adam: fresh ones, one per step), and those that guided the fit.
    seed
        Of everything random.
    applications
        Applications of ``N`` in all, measuring included.
    history, stop_reason, converged
        As in `Fitted`.
    grid_error, patch_error, patch_shape
        Relative errors on the grid and on random patches of `patch_shape`.
    seconds
        Of the whole fit.
    options
        The options of the method.
    """

    method: str
    terms: int
    boundary: tuple[Boundary, ...]
    probes: int
    held_out: int
    seed: int
    applications: int
    history: tuple[HistoryPoint, ...]
    stop_reason: str
    converged: bool
    grid_error: Estimate
    patch_error: Estimate
    patch_shape: tuple[int, ...]
    seconds: float
    options: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        document = asdict(self)
        return {
            **document,
            "boundary": list(self.boundary),
            "history": [asdict(point) for point in self.history],
            "patch_shape": list(self.patch_shape),
        }


@dataclass(frozen=True, eq=False)
class FitResult:
    """Fitted factors with their report."""

    factors: Factors
    report: FitReport
