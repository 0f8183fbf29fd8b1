"""undersample: fully sampled k-space as an accelerated scan, and the reference it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from normalfit.operators.multicoil_mri import MulticoilMRI
from partunroll.errors import InputError

if TYPE_CHECKING:
    from normalfit.linear_operator import LinearOperator


@dataclass(frozen=True, eq=False)
class Undersampled:
    """What an accelerated scan would have measured.

    Parameters
    ----------
    measurements
        ``y``, zero where the mask is.
    reference
        The coil-combined image of all k-space, ``Σ_j s_j* F* y_j / Σ_j |s_j|²``, complex.
    """

    measurements: torch.Tensor
    reference: torch.Tensor


def undersample(operator: LinearOperator, kspace: torch.Tensor) -> Undersampled:
    """Return what the operator's mask keeps of fully sampled k-space, and the reference.

    Parameters
    ----------
    operator
        Cartesian MRI.
    kspace
        ``(coils, *shape)``, without gaps.

    Raises
    ------
    InputError
        The operator is not Cartesian MRI, or the k-space has another shape.
    """
    if not isinstance(operator, MulticoilMRI):
        msg = f"undersample must be used with multicoil_mri, got {type(operator).__name__}"
        raise InputError(msg)
    if tuple(kspace.shape) != operator.range.shape:
        msg = f"kspace must have the shape {operator.range.shape}, got {tuple(kspace.shape)}"
        raise InputError(msg)
    full = MulticoilMRI(
        operator.domain,
        operator.coil_maps,
        torch.ones_like(operator.mask),
        hybrid_axis=operator.hybrid_axis,
    )
    energy = operator.coil_maps.abs().square().sum(0).to(kspace.device)
    combined = full.adjoint(kspace)
    reference = torch.where(energy > 0, combined / energy.clamp_min(1e-12), 0)
    return Undersampled(operator.mask.to(kspace.device) * kspace, reference)


def check_sampled(operator: LinearOperator, y: torch.Tensor) -> None:
    """Refuse real measurements of MRI, and those that are not zero where its mask is.

    Raises
    ------
    InputError
        They are; how many.
    """
    if operator.is_complex and not y.is_complex():
        msg = f"measurements must be complex, as k-space is, got {y.dtype}"
        raise InputError(msg)
    if not isinstance(operator, MulticoilMRI):
        return
    outside = y * (operator.mask == 0).to(y.device)
    count = int((outside != 0).sum())
    if count:
        msg = (
            f"measurements must be zero where the mask is, got {count} samples that are not; "
            "is it full k-space? `prepare --undersample` takes that"
        )
        raise InputError(msg)
