"""as_operator: whatever has a forward and an adjoint as a LinearOperator."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from normalfit.adapters.forward_only import from_forward
from normalfit.adapters.matrix import from_matrix
from normalfit.adapters.mri_nufft import from_mri_nufft
from normalfit.adapters.physics import from_physics
from normalfit.errors import InputError
from normalfit.linear_operator import LinearOperator

if TYPE_CHECKING:
    from collections.abc import Callable


def as_operator(thing: Any, shape: Any = None, **options: Any) -> LinearOperator:
    """Return ``A`` of an operator of another library, told by the methods that it has.

    Parameters
    ----------
    thing
        A `LinearOperator` of ours (returned as it is), an mri-nufft operator, a deepinv
        `LinearPhysics`, a matrix or anything with `matvec` and `rmatvec` (SciPy, PyLops, ASTRA's
        OpTomo), or a linear function in torch (adjoint by autograd).
    shape
        Of the volumes, where `thing` does not say it: for deepinv ``(channels, *volume)``, which
        may be None if it has an `img_size`.
    **options
        Of `from_physics`, `from_matrix` or `from_forward`.

    Raises
    ------
    InputError
        It is none of these, or does not fit `shape` or `options`.
    """
    if isinstance(thing, LinearOperator):
        return thing
    if hasattr(thing, "adj_op") and hasattr(thing, "op"):
        return _built(from_mri_nufft, options, thing)
    if hasattr(thing, "A_adjoint"):
        wanted = getattr(thing, "img_size", None) if shape is None else shape
        if wanted is None:
            msg = "shape must be (channels, *volume) for this physics, got None and no img_size"
            raise InputError(msg)
        return _built(from_physics, options, thing, wanted)
    is_array = len(getattr(thing, "shape", ())) == 2 and not callable(thing)
    if hasattr(thing, "matvec") or is_array:
        return _built(from_matrix, options, thing, shape)
    if callable(thing):
        if shape is None:
            msg = "shape must be that of the volumes for a function, got None"
            raise InputError(msg)
        return _built(from_forward, options, thing, shape)
    msg = (
        "operator must be a matrix, a function, or an operator of SciPy, PyLops, deepinv, ASTRA "
        f"or mri-nufft, got {type(thing).__name__}; wrap two callables in a FunctionOperator"
    )
    raise InputError(msg)


def _built(
    make: Callable[..., LinearOperator], options: dict[str, Any], *args: Any
) -> LinearOperator:
    """Return what `make` does, or raise InputError where it has no such options."""
    known = list(inspect.signature(make).parameters)[len(args) :]
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        msg = f"options of {make.__name__} must be among {takes}, got {', '.join(unknown)}"
        raise InputError(msg)
    return make(*args, **options)
