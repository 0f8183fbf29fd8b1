"""SampleArrays: everything that a data store holds of one sample, from x* and y, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.initial.initial_estimate import (
    Method,
    UsedMethod,
    estimate_method,
    initial_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from normalfit.linear_operator import LinearOperator


class SampleArrays:
    """The arrays of one sample: iterating makes each, and lets go of what it needs no more.

    x*, ``r = A*(y − A x*)`` (design, eq. 3), y, the initial estimate and ``A*y``. Costs two
    adjoints and one forward of the operator, and the initial estimate. While it is iterated,
    one volume and three sets of measurements are held beside what `initial_estimate` needs,
    provided that the caller lets go of `measurements`, `reference` and every array.

    Parameters
    ----------
    operator
        A.
    measurements
        y, ``(*range)``.
    reference
        x*, ``(*domain)``, or None.
    window, method
        As for `initial_estimate`.
    check
        Is given y and ``A x*``, and refuses what it must.

    Attributes
    ----------
    initial_method
        How the initial estimate is made.
    relative_residual
        ``‖y − A x*‖ / ‖y‖``; None without a reference.
    """

    @torch.no_grad()
    def __init__(
        self,
        operator: LinearOperator,
        measurements: torch.Tensor,
        reference: torch.Tensor | None,
        *,
        window: str = "hann",
        method: Method = "auto",
        check: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
    ) -> None:
        self.initial_method: UsedMethod = estimate_method(operator, method)
        self.relative_residual: float | None = None
        self._operator, self._window, self._method = operator, window, method
        self._y, self._x = measurements, reference
        self._residual: torch.Tensor | None = None
        if reference is not None:
            projected = operator.forward(reference)
            if check is not None:
                check(measurements, projected)
            residual = measurements - projected
            norm = measurements.norm().clamp_min(1e-30)
            self.relative_residual = float(residual.norm() / norm)
            self._residual = residual

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays by the names of `data_store_header.SAMPLE_ARRAYS`; once."""
        x, self._x = self._x, None
        if x is not None:
            yield "reference", _array(x)
        del x
        residual, self._residual = self._residual, None
        if residual is not None:
            yield "residual_backprojection", self._adjoint(residual)
        del residual
        yield "measurements", _array(self._y)
        yield "initial_estimate", self._estimate()
        yield "backprojection", self._adjoint(self._y)

    @torch.no_grad()
    def _adjoint(self, y: torch.Tensor) -> np.ndarray:
        return _array(self._operator.adjoint(y))

    @torch.no_grad()
    def _estimate(self) -> np.ndarray:
        return _array(initial_estimate(self._operator, self._y, self._window, self._method))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
