"""Functions of numpy arrays as functions of tensors: through the host, in the same dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


def on_host(
    function: Callable[[np.ndarray], np.ndarray],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function for tensors; those of a GPU are copied to the host and back.

    The result has the precision of the argument, and is complex where the function's is.
    """

    def apply(x: torch.Tensor) -> torch.Tensor:
        result = torch.as_tensor(function(x.detach().resolve_conj().resolve_neg().cpu().numpy()))
        precision = x.real.dtype
        dtype = precision.to_complex() if result.is_complex() else precision
        return result.to(x.device, dtype)

    return apply
