"""PatchSymmetry: axes of patches exchanged and mirrored.  rotations: those that turn by 90°."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


@dataclass(frozen=True)
class PatchSymmetry:
    """A symmetry ``S`` of a box: a permutation of its axes, then flips; ``S⁻¹ = Sᵀ``.

    Parameters
    ----------
    permutation
        Axis ``i`` of the result is axis ``permutation[i]`` of the argument; 0 is the first
        axis of a patch, behind its batch axes.
    flips
        Axes of the result that are mirrored, counted in the same way.
    """

    permutation: tuple[int, ...]
    flips: tuple[int, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.flips and self.permutation == tuple(range(len(self.permutation)))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``S x`` for ``(..., *patch)``."""
        return _permuted(x, self.permutation).flip(self._flipped_axes)

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``S⁻¹ x``."""
        back = sorted(range(len(self.permutation)), key=self.permutation.__getitem__)
        return _permuted(x.flip(self._flipped_axes), back)

    def mirrored(self, axes: Sequence[int]) -> PatchSymmetry:
        """Return this symmetry followed by flips of the axes."""
        return PatchSymmetry(self.permutation, tuple(sorted(set(self.flips) ^ set(axes))))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis - len(self.permutation) for axis in self.flips)


def rotations(num_axes: int, turned: Sequence[int] = ()) -> tuple[PatchSymmetry, ...]:
    """Return all rotations by multiples of 90° that move the axes `turned` only.

    Of a square there are 4, of a cube 24; the identity is the first of them. Without axes it
    is the only one.
    """
    found = []
    for order in itertools.permutations(turned):
        permutation = list(range(num_axes))
        for axis, source in zip(turned, order, strict=True):
            permutation[axis] = source
        for mirrors in itertools.product((False, True), repeat=len(turned)):
            if (_is_odd(permutation) + sum(mirrors)) % 2 == 0:  # no mirror image
                flips = tuple(itertools.compress(turned, mirrors))
                found.append(PatchSymmetry(tuple(permutation), flips))
    return tuple(found)


def _permuted(x: torch.Tensor, permutation: Sequence[int]) -> torch.Tensor:
    batch = x.ndim - len(permutation)
    return x.permute(*range(batch), *(batch + axis for axis in permutation))


def _is_odd(permutation: Sequence[int]) -> bool:
    pairs = itertools.combinations(permutation, 2)
    return sum(first > second for first, second in pairs) % 2 == 1
