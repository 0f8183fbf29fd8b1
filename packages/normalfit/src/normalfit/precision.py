"""check_precision: whether arrays are tensors of numbers that FFTs and projectors take."""

from __future__ import annotations

import torch

from normalfit.errors import InputError

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
HALF = (torch.float16, torch.bfloat16)


def check_precision(name: str, x: object, *, allow_half: bool = False) -> None:
    """Refuse what is no tensor in single or double precision, real or complex.

    Parameters
    ----------
    name
        Of `x`, for the message.
    x
        The candidate. A cast to whole numbers, or to half precision, would lose it.
    allow_half
        Whether half precision is taken.

    Raises
    ------
    InputError
        It is none.
    """
    if not isinstance(x, torch.Tensor):
        msg = f"{name} must be a torch tensor, got {type(x).__name__}; take torch.as_tensor"
        raise InputError(msg)
    if x.dtype not in DTYPES and not (allow_half and x.dtype in HALF):
        msg = f"{name} must be float32 or float64, got {x.dtype}; convert it"
        raise InputError(msg)
