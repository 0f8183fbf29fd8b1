"""direct_factors: factors of MRI from mask or trajectory, without a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normalfit.errors import InputError
from normalfit.mri.coil_compression import compress_coils
from normalfit.operators.mri_operator import MRIOperator
from normalfit.toeplitz_factors import toeplitz_factors

if TYPE_CHECKING:
    import torch

    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator
    from normalfit.model import Model


def check_direct(operator: LinearOperator, model: Model) -> MRIOperator:
    """Return the operator if its factors can be computed directly, for that model.

    Raises
    ------
    InputError
        It is no MRI, the model is not 'multicoil', sets boundary or lags, or asks for more
        virtual coils than there are coils.
    """
    if not isinstance(operator, MRIOperator):
        msg = (
            "method direct must be used with multicoil_mri or noncartesian_mri, "
            f"got {type(operator).__name__}; fit it by least squares"
        )
        raise InputError(msg)
    if model.name != "multicoil" or model.boundary is not None or model.lags is not None:
        msg = (
            "method direct must have the model multicoil, boundary and lags are the operator's, "
            f"got {model.name} with boundary {model.boundary} and lags {model.lags}"
        )
        raise InputError(msg)
    if (model.terms or 1) > operator.num_coils:
        msg = f"terms must be at most the {operator.num_coils} coils, got {model.terms}"
        raise InputError(msg)
    return operator


def direct_factors(
    operator: MRIOperator, terms: int | None = None, dtype: torch.dtype | None = None
) -> Factors:
    """Return ``Σ_j conj(s_j) ⊙ (h ∗ (s_j ⊙ x))`` with the kernel of the mask or trajectory.

    With all coils it is ``A*A`` up to rounding, or to the precision of the NUFFT. Fewer virtual
    coils are the first singular vectors of the maps: the best maps of that rank, though not the
    best factors (fitting from there lowers the error).

    Parameters
    ----------
    operator
        MRI.
    terms
        Virtual coils; None: all coils as they are.
    dtype
        Of the factors; None: complex64.

    Raises
    ------
    InputError
        There are fewer coils than `terms`.
    """
    exact = operator.exact_factors(dtype or operator.probe_dtype)
    if terms is None or terms == operator.num_coils:
        return exact
    maps = operator.coil_maps
    virtual = compress_coils(maps, terms)(maps).to(exact.dtype)
    return toeplitz_factors(virtual, exact.kernel.values[0], exact.boundary)
