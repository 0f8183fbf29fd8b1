"""PatchNormal: what stands for ``A*A`` on a batch of patches, by its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normalfit.grid import Patch
    from normalfit.linear_operator import LinearOperator
    from partunroll.patches.patch_normal import PatchNormalKind
    from partunroll.patches.patch_symmetry import PatchSymmetry


class PatchNormal(Protocol):
    """``B_p`` of a batch of patches: restricted factors, restricted operators, or both."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``."""

    def to(self, device: torch.device) -> PatchNormal:
        """Return it for tensors on another device."""


@dataclass(frozen=True, eq=False)
class RestrictedNormals:
    """``P_i N P_iᵀ`` of every patch, by the rays that meet it; divided by the norm (ablation).

    Parameters
    ----------
    operators
        ``A P_iᵀ``, one per patch.
    norm
        Spectral norm of ``N``.
    """

    operators: tuple[LinearOperator, ...]
    norm: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``; costs one restricted forward and adjoint per patch."""
        parts = [operator.normal(part) for operator, part in zip(self.operators, x, strict=True)]
        return torch.stack(parts) / self.norm

    def to(self, device: torch.device) -> RestrictedNormals:  # noqa: ARG002
        """Return itself: operators follow the device of their argument."""
        return self


@dataclass(frozen=True, eq=False)
class ZeroPaddedNormals:
    """The same ``P_i N P_iᵀ``, computed on the whole volume (the form that the paper replaced).

    Parameters
    ----------
    operator
        ``A``.
    patches
        Place of every patch.
    norm
        Spectral norm of ``N``.
    """

    operator: LinearOperator
    patches: tuple[Patch, ...]
    norm: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``; costs one forward and adjoint of A per patch."""
        shape = self.operator.domain.shape
        parts = [
            patch.extract(self.operator.normal(patch.embed(part, shape)))
            for patch, part in zip(self.patches, x, strict=True)
        ]
        return torch.stack(parts) / self.norm

    def to(self, device: torch.device) -> ZeroPaddedNormals:  # noqa: ARG002
        """Return itself: operators follow the device of their argument."""
        return self


@dataclass(frozen=True, eq=False)
class CorrectedNormal:
    """``P N Pᵀ`` for gradients, and ``B_p`` for what proximal steps solve with.

    A gradient takes one product, a proximal step as many as it has CG iterations: so the exact
    operator costs little here, and the errors of ``B`` no longer move the solution, only the way
    to it.

    Parameters
    ----------
    exact
        ``P N Pᵀ``.
    approximate
        ``B_p``.
    """

    exact: PatchNormal
    approximate: PatchNormal

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the exact one to ``(batch, *p)``."""
        return self.exact(x)

    def to(self, device: torch.device) -> CorrectedNormal:
        """Return it for tensors on another device."""
        return CorrectedNormal(self.exact.to(device), self.approximate.to(device))


@dataclass(frozen=True, eq=False)
class TransformedNormal:
    """A normal operator seen in a mirror, or turned: ``S B Sᵀ``, exactly.

    Factors and exact operators are transformed alike, by exchanging axes of what they are
    applied to: it costs no spectra of turned kernels.

    Parameters
    ----------
    normal
        ``B``.
    symmetry
        ``S``.
    """

    normal: PatchNormal
    symmetry: PatchSymmetry

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it to ``(batch, *p)``."""
        return self.symmetry(self.normal(self.symmetry.inverse(x)))

    def to(self, device: torch.device) -> TransformedNormal:
        """Return it for tensors on another device."""
        return TransformedNormal(self.normal.to(device), self.symmetry)


def transformed_normal(normal: PatchNormal, symmetry: PatchSymmetry) -> PatchNormal:
    """Return a normal operator seen in a mirror, or turned."""
    if isinstance(normal, CorrectedNormal):
        exact, approximate = (
            TransformedNormal(part, symmetry) for part in (normal.exact, normal.approximate)
        )
        return CorrectedNormal(exact, approximate)
    return TransformedNormal(normal, symmetry)


def patch_normal(
    kind: PatchNormalKind,
    operator: LinearOperator,
    patches: Sequence[Patch],
    restricted: Sequence[LinearOperator],
    norm: float,
    approximate: PatchNormal | None,
) -> PatchNormal:
    """Return what stands for ``A*A`` on patches, divided by the norm.

    Parameters
    ----------
    kind
        Which of them.
    operator, patches, restricted
        ``A``, where the patches are, and ``A P_iᵀ`` of each.
    norm
        Spectral norm of ``A*A``.
    approximate
        ``P_i B P_iᵀ``, divided by the norm, for the kinds that need factors.
    """
    if kind == "full":
        return ZeroPaddedNormals(operator, tuple(patches), norm)
    exact = RestrictedNormals(tuple(restricted), norm)
    if kind == "restricted":
        return exact
    assert approximate is not None  # noqa: S101 - callers make it where `needs_factors`
    return CorrectedNormal(exact, approximate) if kind == "corrected" else approximate
