"""sample_arrays: everything that a data store holds of one sample, from x* and y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from partunroll.initial_estimate import Method, UsedMethod, estimate_method, initial_estimate

if TYPE_CHECKING:
    import numpy as np

    from normalfit.linear_operator import LinearOperator


@dataclass(frozen=True)
class SampleArrays:
    """The arrays of one sample and two figures about them.

    Attributes
    ----------
    values
        Arrays by the names of `data_store_header.SAMPLE_ARRAYS`.
    initial_method
        How the initial estimate was made.
    relative_residual
        ``‖y − A x*‖ / ‖y‖``; None without a reference.
    """

    values: dict[str, np.ndarray]
    initial_method: UsedMethod
    relative_residual: float | None


@torch.no_grad()
def sample_arrays(
    operator: LinearOperator,
    measurements: torch.Tensor,
    reference: torch.Tensor | None,
    *,
    window: str = "hann",
    method: Method = "auto",
) -> SampleArrays:
    """Compute initial estimate, ``A*y`` and, given x*, ``r = A*(y − A x*)`` (design, eq. 3).

    Costs two adjoints and one forward of the operator, and the initial estimate.

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
    """
    tensors = {
        "measurements": measurements,
        "initial_estimate": initial_estimate(operator, measurements, window, method),
        "backprojection": operator.adjoint(measurements),
    }
    relative = None
    if reference is not None:
        residual = measurements - operator.forward(reference)
        relative = float(residual.norm() / measurements.norm().clamp_min(1e-30))
        tensors["reference"] = reference
        tensors["residual_backprojection"] = operator.adjoint(residual)
    values = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return SampleArrays(values, estimate_method(operator, method), relative)
