"""Model: which sum of diagonal and convolution factors a fit looks for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, get_args

from normalfit.errors import InputError
from normalfit.lag_grid import Boundary, LagGrid

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator

MODELS = {
    "diagonal-circulant": "Σ u_k (h_k ∗ x): the paper's, with one term and periodic boundary",
    "two-sided": "Σ u_k (h_k ∗ (v_k x)): tied (u = conj v, h Hermitian) where A*A is self-adjoint",
    "symmetric": "√d (h ∗ (√d x)) with d ≥ 0 and a spectrum ≥ 0: positive semi-definite",
    "local": "d Σ w_k (h_k ∗ x): fixed smooth windows w that sum to one, a kernel for each",
    "multicoil": "Σ conj(s_k) (h ∗ (s_k x)): virtual coils that share one Hermitian kernel",
}
MAX_TERMS = 4  # of a fit that finds their number itself  # our choice
_GROWING = ("diagonal-circulant", "two-sided")


@dataclass(frozen=True)
class Model:
    """Which factors are looked for.

    Parameters
    ----------
    name
        One of `MODELS`.
    boundary
        'linear' or 'periodic', for all axes or one per axis. None: what suits the operator
        (`LinearOperator.boundary`), 'linear' without one.
    terms
        Number K of terms, or of virtual coils. None: as many as lower the held-out error by
        more than its interval, at most four, or one virtual coil.
    tolerance
        Stop adding terms at this held-out error; only with `terms` None.
    lags
        Lags per axis of the kernels, one number for all axes or one per axis; at most every lag
        of the grid. None: every lag that the operator's `kernel_lags` allow, but half of them
        for local kernels (cone beam 24³, three windows: half of the lags reach 0.310, a quarter
        0.363).
    windows
        Windows of the local model, for all axes or one per axis; None is three.

    Raises
    ------
    InputError
        A value is out of range, or does not belong to the model.
    """

    name: str = "two-sided"
    boundary: str | tuple[str, ...] | None = None
    terms: int | None = None
    tolerance: float | None = None
    lags: int | tuple[int, ...] | None = None
    windows: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("terms", "lags", "windows"):
            value = _whole(name, getattr(self, name))
            if name == "terms" and isinstance(value, tuple):
                msg = f"terms must be one whole number, got {value}"
                raise InputError(msg)
            object.__setattr__(self, name, value)
        if self.name not in MODELS:
            msg = f"model must be one of {', '.join(MODELS)}, got {self.name!r}"
            raise InputError(msg)
        if self.terms is not None and self.terms < 1:
            msg = f"terms must be at least 1, got {self.terms}"
            raise InputError(msg)
        self._check_tolerance()
        if self.terms is not None and self.name in ("symmetric", "local") and self.terms != 1:
            msg = f"terms must not be given for the model {self.name}, got {self.terms}"
            raise InputError(msg)
        if self.windows is not None and self.name != "local":
            msg = f"windows must only be given for the model local, got {self.windows}"
            raise InputError(msg)

    @property
    def grows(self) -> bool:
        """Whether terms are added one by one."""
        return self.name in _GROWING

    def suited_to(self, operator: LinearOperator) -> Model:
        """Return the model with boundary and lags of the operator where they are open."""
        boundary = operator.boundary if self.boundary is None else self.boundary
        model = replace(self, boundary=boundary)
        most = operator.kernel_lags
        if self.lags is not None or most is None or self.name == "local":
            return model
        full = model.lag_grid(operator.domain.shape).lags
        lags = tuple(n if m is None else min(n, m) for n, m in zip(full, most, strict=True))
        return replace(model, lags=lags)

    def lag_grid(self, shape: tuple[int, ...]) -> LagGrid:
        """Return the lags of the kernels on a grid of `shape`.

        Raises
        ------
        InputError
            The boundary or the lags do not fit the grid.
        """
        ends = self.boundaries(len(shape))
        full = [n if end == "periodic" else 2 * n - 1 for n, end in zip(shape, ends, strict=True)]
        if self.lags is None and self.name == "local":
            wanted = tuple(2 * (n // 2) + 1 for n in shape)
        else:
            wanted = tuple(full) if self.lags is None else _per_axis("lags", self.lags, len(shape))
        lags = tuple(min(a, b) for a, b in zip(wanted, full, strict=True))
        return LagGrid(shape, lags, ends)

    def boundaries(self, num_axes: int) -> tuple[Boundary, ...]:
        """Return the boundary of each axis."""
        wanted = "linear" if self.boundary is None else self.boundary
        each = isinstance(wanted, tuple | list)
        ends = tuple(wanted) if each else (wanted,) * num_axes
        if len(ends) != num_axes or not all(end in get_args(Boundary) for end in ends):
            msg = (
                f"boundary must be 'periodic' or 'linear', once or per axis, got {self.boundary!r}"
            )
            raise InputError(msg)
        return ends  # type: ignore[return-value] # checked above

    def most_terms(self, shape: tuple[int, ...]) -> int:
        """Return how many terms the factors may get."""
        if self.name == "local":
            return math.prod(self.window_counts(shape))
        return self.terms or (MAX_TERMS if self.grows else 1)

    def window_counts(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the windows per axis: at most as many as voxels."""
        counts = _per_axis("windows", 3 if self.windows is None else self.windows, len(shape))
        if self.windows is None:
            return tuple(min(count, n) for count, n in zip(counts, shape, strict=True))
        if not all(1 <= count <= n for count, n in zip(counts, shape, strict=True)):
            msg = f"windows must be between 1 and the voxels {shape} per axis, got {counts}"
            raise InputError(msg)
        return counts

    def _check_tolerance(self) -> None:
        tolerance: Any = self.tolerance
        if tolerance is None:
            return
        if not isinstance(tolerance, Real) or not 0 <= float(tolerance) < math.inf:
            msg = f"tolerance must be zero or more, got {tolerance!r}"
            raise InputError(msg)
        if self.terms is not None:
            msg = f"tolerance must not be given beside terms {self.terms}, got {self.tolerance}"
            raise InputError(msg)
        if not self.grows:
            msg = (
                f"tolerance must be given for a model that grows ({', '.join(_GROWING)}), "
                f"got {self.tolerance} for {self.name}"
            )
            raise InputError(msg)


def _whole(name: str, value: Any) -> int | tuple[int, ...] | None:  # noqa: ANN401
    """Return one whole number, or one per axis, as Python has them; NumPy's are taken too."""
    if value is None:
        return None
    try:
        return tuple(index(n) for n in value) if hasattr(value, "__len__") else index(value)
    except TypeError as error:
        msg = f"{name} must be a whole number, or one per axis, got {value!r}"
        raise InputError(msg) from error


def _per_axis(name: str, value: int | tuple[int, ...], num_axes: int) -> tuple[int, ...]:
    values = (value,) * num_axes if isinstance(value, int) else tuple(value)
    if len(values) != num_axes:
        msg = f"{name} must be one number or one per axis ({num_axes}), got {value}"
        raise InputError(msg)
    return values
