"""UnseenErrors: the errors of approximations of one operator on volumes that no fit has seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from normalfit.probe_set_error import probe_set_error
from normalfit.probes import ProbeSet, collect_responses, generator
from normalfit.random_patch import random_patch
from normalfit.restriction import restrict

if TYPE_CHECKING:
    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator


class UnseenErrors:
    """The errors of any approximation of one operator, on things no fit has seen."""

    def __init__(
        self, operator: LinearOperator, objects: torch.Tensor | None, device: str = "cpu"
    ) -> None:
        self._operator = operator
        shape = operator.domain.shape
        self._dtype = torch.complex64 if operator.is_complex else torch.float32
        self._grid = collect_responses(
            operator.normal, shape, 16, seed=1, stream="evaluation", device=device,
            dtype=self._dtype,
        )  # fmt: skip
        smooth = torch.stack([_smoothed(w, shape) for w in self._grid.probes])
        self._smooth = ProbeSet(smooth, [operator.normal(x) for x in smooth])
        self._objects = None
        if objects is not None:
            objects = objects.to(device)
            self._objects = ProbeSet(objects, [operator.normal(x) for x in objects])

    def of(self, factors: Any) -> dict[str, float]:
        """Return the errors by what they are measured on."""
        errors = {
            "grid": probe_set_error(self._grid, factors).value,
            "patch n/2": self._on_patches(factors, 2),
            "patch n/4": self._on_patches(factors, 4),
            "smooth": probe_set_error(self._smooth, factors).value,
        }
        if self._objects is not None:
            errors["objects"] = probe_set_error(self._objects, factors).value
        return errors

    def _on_patches(self, factors: Any, parts: int) -> float:
        shape = self._operator.domain.shape
        side = tuple(max(2, n // parts) for n in shape)
        error = total = 0.0
        for index in range(16):
            patch: Patch = random_patch(shape, side, generator(1, "patch places", index))
            w = patch.extract(self._grid.probes[index]).contiguous()
            exact = self._operator.restricted(patch).normal(w)
            error += float((restrict(factors, patch)(w) - exact).abs().square().sum())
            total += float(exact.abs().square().sum())
        return math.sqrt(error / total)


def _smoothed(w: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Smooth by a Gaussian of two voxels standard deviation along every axis."""
    for axis, n in enumerate(shape):
        position = torch.arange(n, dtype=torch.float32)
        weight = torch.exp(-((position[:, None] - position) ** 2) / 8).to(w.dtype)
        w = torch.movedim(torch.tensordot(weight, w, dims=([1], [axis])), 0, axis)
    return w
