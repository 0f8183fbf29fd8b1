"""FitReport: how a fit was made and how good it is; stored with the factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normalfit.estimate import Estimate
    from normalfit.fitted import HistoryPoint
    from normalfit.lag_grid import Boundary


@dataclass(frozen=True)
class FitReport:
    """What a fit did and what it reached.

    Parameters
    ----------
    method
        'least-squares', 'adam' or 'direct'.
    model
        Name of the model.
    terms
        Number of terms, windows or virtual coils.
    boundary, lags
        Per axis.
    probes
        Training probes; for Adam as many as were drawn.
    held_out
        Probes that guided the fit.
    seed
        Seed of all probes.
    applications
        Applications of ``N`` on the whole grid, for guidance and evaluation too.
    history
        Where the fit stood, in order.
    stop_reason
        Why it stopped.
    converged
        Whether more of the same would not have helped.
    grid_error
        Relative Frobenius error on the grid, on probes of its own.
    patch_error
        Relative error on random patches.
    patch_shape
        Voxels of these patches.
    seconds
        Of everything.
    response_seconds
        Of `seconds`, what the responses that were collected before the fit took.
    options
        The options of the method.
    """

    method: str
    model: str
    terms: int
    boundary: tuple[Boundary, ...]
    lags: tuple[int, ...]
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
    response_seconds: float
    options: dict[str, float | int]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values: dictionaries, lists, numbers and strings."""
        fields = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }
