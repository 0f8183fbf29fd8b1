"""interpolate: values between the nodes of a table, with a gradient that is quick on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor


class Lookup(NamedTuple):
    """Which rows of a table make a value, and how much of each.

    Attributes
    ----------
    rows
        int64, ``(points, levels, corners)``.
    weights
        ``(points, levels, corners)``; those of one level sum to one.
    """

    rows: Tensor
    weights: Tensor


def interpolate(table: Tensor, lookup: Lookup) -> Tensor:
    """Return ``Σ_corners weight · table[row]``, ``(points, levels, features)``.

    Parameters
    ----------
    table
        ``(rows, features)``; the gradient is of the table alone, not of the places.
    lookup
        Rows and weights.
    """
    return _Interpolation.apply(table, *lookup)


class _Interpolation(torch.autograd.Function):
    """Torch's `embedding_bag`, with a backward pass of its own.

    Measured with 65,536 points, 8 levels of 2 features, one thread: 0.19 s there and back, with
    torch's backward pass, which sorts all rows, 1.7 s, and by plain indexing 0.55 s.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives the context no public type
        table: Tensor,
        rows: Tensor,
        weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape = table.shape
        corners = rows.shape[-1]
        values = F.embedding_bag(
            rows.reshape(-1, corners),
            table,
            per_sample_weights=weights.reshape(-1, corners),
            mode="sum",
        )
        return values.reshape(*rows.shape[:-1], table.shape[1])

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        num_rows, num_features = ctx.shape
        by_feature = gradient.new_zeros(num_features, num_rows)  # 1-D index_add_ is the quick one
        for feature, column in enumerate(by_feature):
            spread = gradient[..., feature, None] * weights
            column.index_add_(0, rows.reshape(-1), spread.reshape(-1))
        return by_feature.T.contiguous(), None, None
