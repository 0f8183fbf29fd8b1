"""from_matrix: matrices, SciPy's and PyLops' operators, and ASTRA's OpTomo as a LinearOperator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from normalfit.adapters.given_grid import given_grid
from normalfit.adapters.host_arrays import on_host
from normalfit.errors import InputError
from normalfit.linear_operator import FunctionOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.grid import Grid
    from normalfit.linear_operator import LinearOperator

_DOMAIN_NAMES = ("dims", "vshape")  # PyLops, ASTRA's OpTomo
_RANGE_NAMES = ("dimsd", "sshape")


def from_matrix(
    matrix: Any,
    shape: Sequence[int] | Grid | None = None,
    range_shape: Sequence[int] | Grid | None = None,
    *,
    has_exact_adjoint: bool = True,
    is_complex: bool | None = None,
) -> LinearOperator:
    """Return ``A`` of something that multiplies vectors.

    PyLops' operators from real volumes to complex measurements, as `FFT2D` with ``real=True``,
    cost one application of their adjoint to be told from complex ones.

    Parameters
    ----------
    matrix
        ``(measurements, samples)``: a NumPy, SciPy sparse or torch matrix, or anything with
        `matvec` and `rmatvec`: SciPy's `LinearOperator`, PyLops' operators, ASTRA's `OpTomo`.
    shape, range_shape
        Of volumes and measurements, or their grids. None: PyLops' `dims` and `dimsd`, OpTomo's
        `vshape` and `sshape`, and otherwise one axis.
    has_exact_adjoint
        Whether `rmatvec` is the exact adjoint (not for ASTRA's 3-D projectors).
    is_complex
        Whether volumes are complex. None: as the dtype says, and for PyLops' operators of which
        `clinear` is False as their adjoint does. False makes any of those one of real volumes.

    Raises
    ------
    InputError
        It does not multiply vectors, a shape has another number of samples, or it is linear
        over the real numbers alone and `is_complex` does not say what its volumes are (PyLops'
        `Real`, `Imag`, `Conj`, and stacks of real transforms).
    """
    matvec, rmatvec = _products(matrix)
    is_real = not np.issubdtype(_dtype(matrix), np.complexfloating)
    takes_complex = _is_complex(matrix) if is_complex is None else is_complex
    if is_real:
        matvec, rmatvec = _by_parts(matvec), _by_parts(rmatvec)
    rows, columns = (int(n) for n in matrix.shape)
    domain = _grid("shape", shape, matrix, _DOMAIN_NAMES, columns)
    codomain = _grid("range_shape", range_shape, matrix, _RANGE_NAMES, rows)

    def forward(x: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(x) and not (takes_complex or is_real):
            msg = f"x must be real, as the volumes of this operator are, got {x.dtype}"
            raise InputError(msg)
        return np.asarray(matvec(x.reshape(-1))).reshape(codomain.shape)

    def adjoint(y: np.ndarray) -> np.ndarray:
        x = np.asarray(rmatvec(y.reshape(-1))).reshape(domain.shape)
        return x if takes_complex or is_real else x.real

    return FunctionOperator(
        domain,
        codomain,
        on_host(forward),
        on_host(adjoint),
        has_exact_adjoint=has_exact_adjoint,
        is_complex=takes_complex,
    )


def _products(matrix: Any) -> tuple[Any, Any]:
    if callable(getattr(matrix, "matvec", None)) and callable(getattr(matrix, "rmatvec", None)):
        return matrix.matvec, matrix.rmatvec
    if hasattr(matrix, "resolve_conj"):  # a tensor
        matrix = _host_matrix(matrix)
    if len(getattr(matrix, "shape", ())) != 2 or not hasattr(matrix, "conj"):
        msg = (
            "matrix must have two axes, or the methods matvec and rmatvec, got "
            f"{type(matrix).__name__}"
        )
        raise InputError(msg)
    transposed = matrix.conj().T
    return (lambda x: matrix @ x), (lambda y: transposed @ y)


def _by_parts(product: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Return a real product that takes complex vectors: ASTRA's drops their imaginary part."""

    def apply(x: np.ndarray) -> Any:
        return product(x.real) + 1j * product(x.imag) if np.iscomplexobj(x) else product(x)

    return apply


def _dtype(matrix: Any) -> np.dtype[Any]:
    """Return NumPy's dtype of anything that has one."""
    if hasattr(matrix, "resolve_conj"):  # a tensor
        return np.dtype(str(matrix.dtype).removeprefix("torch."))
    try:
        dtype = np.dtype(matrix.dtype)
    except (AttributeError, TypeError) as error:
        got = getattr(matrix, "dtype", None)
        msg = f"matrix must have a dtype that NumPy has, got {got!r} of {type(matrix).__name__}"
        raise InputError(msg) from error
    if not np.issubdtype(dtype, np.number) and dtype != np.bool_:
        msg = f"matrix must hold numbers, got dtype {dtype} of {type(matrix).__name__}"
        raise InputError(msg)
    return dtype


def _host_matrix(matrix: Any) -> Any:
    try:
        return matrix.detach().resolve_conj().resolve_neg().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        msg = (
            "matrix must be dense and of a dtype that NumPy has, got a tensor of "
            f"{matrix.layout} and {matrix.dtype}; convert it, sparse ones to scipy.sparse"
        )
        raise InputError(msg) from error


def _is_complex(matrix: Any) -> bool:
    """Return whether volumes are complex; PyLops' dtype may be that of the measurements alone."""
    dtype = _dtype(matrix)
    if not np.issubdtype(dtype, np.complexfloating):
        return False
    if getattr(matrix, "clinear", True):
        return True
    if np.iscomplexobj(matrix.rmatvec(np.zeros(int(matrix.shape[0]), dtype))):
        msg = (
            "operator must be linear over the complex numbers, or map real volumes, got "
            f"{type(matrix).__name__} with clinear False; where volumes are real, say "
            "is_complex=False"
        )
        raise InputError(msg)
    return False


def _grid(
    name: str,
    wanted: Sequence[int] | Grid | None,
    matrix: Any,
    attributes: Sequence[str],
    samples: int,
) -> Grid:
    found = [getattr(matrix, a) for a in attributes if getattr(matrix, a, None) is not None]
    chosen = wanted if wanted is not None else found[0] if found else (samples,)
    grid = given_grid(name, chosen)
    if grid.num_samples != samples:
        msg = f"{name} must have the {samples} samples of the matrix, got {grid.shape}"
        raise InputError(msg)
    return grid
