"""preconditioner: symmetric factors whose inverse is again factors, and CG that uses it."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

import torch

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.errors import InputError
from normalfit.hermitian import hermitian
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.precision import check_precision

if TYPE_CHECKING:
    from normalfit.conjugate_gradient import CGResult
    from normalfit.factors import Factors

# our choice. From D C factors made symmetric by hand. Cone beam 24³, 40 views, a detector of 0.8
# of the grid's field of view, ridge 1e-2 of the norm: 27 iterations of CG without, 20 with a
# floor of 0.1, 19 with 0.2 to 0.5; ridge 0.1: 12 without, 16, 12, 11 and 10 with 0.1, 0.2, 0.3
# and 0.5.
FLOOR = 0.3
# our choice. Parallel beam 128², 60 views, 128 probes, ridge 1e-4 of the norm: 35 iterations
# without, 23 with 0, 20, 22, 19, 15 and 19 with 0.001, 0.003, 0.005, 0.01 and 0.02; 180 views,
# ridge 1e-3: 22 without, 9, 8, 8, 10, 11 and 12. Ridge 1e-2 hardly notices (6 or 7 of 13).
UNCERTAINTY = 0.01
_NEGATIVE = 0.01  # of the largest; below rounding and the ringing of a kernel of limited support
_REMEDY = "fit with model 'symmetric'"

_Key = tuple[float, float, float]
_kept: WeakKeyDictionary[Factors, tuple[_Key, Factors]] = WeakKeyDictionary()


def preconditioner(
    factors: Factors, ridge: float, *, floor: float = FLOOR, uncertainty: float = UNCERTAINTY
) -> Factors:
    """Return ``M = D^-½ crop (C̃ + ρI)⁻¹ pad D^-½``, near ``(N + ridge I)⁻¹`` (design §2).

    It is self-adjoint and positive definite, and factors again: to be applied, to be restricted
    and to be handed to the CG of scipy (``M=``), torch or deepinv. Applying it costs two FFTs.

    * D is ``u v``, not below `floor` times its mean.
    * C̃ has the spectrum ``f* C f / |f|²`` of the waves f on the grid, clamped at zero: on linear
      axes lag τ of n samples counts ``(n - |τ|) / n``, as in T. Chan's circulant (SIAM J. Sci.
      Stat. Comput. 9(4), 1988), on periodic ones C̃ = C. These are Rayleigh quotients of
      ``crop C pad``, so they know of the low frequencies that the borders mix into high ones,
      where C is small. Parallel beam 64², 40 views, ridge 1e-3 of the norm, no uncertainty:
      37 iterations without, 31 with C, 19 with C̃.
    * ``ρ = ridge / min D + uncertainty · max c̃``: so ``M <= I / ridge``, as for the inverse, and
      frequencies of which the fit knows little are not blown up.

    On a periodic grid it is the exact inverse of ``D^½ (C + ρI) D^½``.

    Parameters
    ----------
    factors
        Of one term, ``u = v >= 0``, with a Hermitian kernel of non-negative spectrum; a
        restriction of such factors is such. Diagonals and kernel may carry batch axes.
    ridge
        Positive, in the units of N.
    floor
        In ``(0, 1]``.
    uncertainty
        Zero or more: what the spectrum is off by, relative to its maximum. Zero where factors
        stand for themselves.

    Raises
    ------
    InputError
        The factors are not symmetric and positive, or an argument is out of range.
    """
    _check_arguments(ridge, floor, uncertainty)
    d = _diagonal(factors)
    axes = tuple(range(-len(factors.shape), 0))
    d = torch.maximum(d, floor * d.mean(axes, keepdim=True))
    grid = _inverse_grid(factors.kernel)
    half = not factors.kernel.values.is_complex()
    c = _spectrum(factors.kernel, grid, half=half)
    rho = ridge / d.amin(axes, keepdim=True) + uncertainty * c.amax(axes, keepdim=True)
    # lags beyond n-1, which padding keeps apart from the others, meet no two samples
    inverse = (1 / (c + rho)).to(factors.dtype.to_complex())
    h = hermitian(grid.inverse_lags(inverse, half=half), grid)
    root = d.rsqrt()
    return replace(factors, kernel=LagKernel(h, grid.shape, grid.boundary), u=root, v=root)


def precondition(factors: Factors, b: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return ``M b``, shape ``(..., *shape)``; `preconditioner` with its defaults.

    M is kept with the factors until another ridge is asked for.

    Raises
    ------
    InputError
        As `preconditioner`, or the trailing axes of `b` are not the grid.
    """
    return _keep(factors, ridge, UNCERTAINTY)(b)


def solve(
    factors: Factors,
    b: torch.Tensor,
    ridge: float,
    *,
    tolerance: float = 1e-6,
    iterations: int = 500,
) -> CGResult:
    """Solve ``(B + ridge I) x = b`` by preconditioned conjugate gradients.

    An iteration costs four FFTs and no application of A. The residual is that of all of `b`
    together where it has batch axes.

    Parameters
    ----------
    factors
        As `preconditioner` takes them.
    b
        ``(..., *shape)``; where the factors are wider or complex, so is the solution.
    ridge
        Positive, in the units of N.
    tolerance, iterations
        Stop once ``|b - (B + ridge I) x| <= tolerance |b|``, or after this many iterations; the
        result's `stop_reason` says which.

    Raises
    ------
    InputError
        The factors are not symmetric and positive, or an argument is out of range.
    """
    check_precision("b", b, allow_half=True)
    return conjugate_gradient(
        lambda x: factors(x) + ridge * x,
        factors.broadcast(b).to(torch.promote_types(b.dtype, factors.result_dtype)),
        iterations=iterations,
        tolerance=tolerance,
        precondition=_keep(factors, ridge, 0.0),
    )


def _keep(factors: Factors, ridge: float, uncertainty: float) -> Factors:
    key = (ridge, FLOOR, uncertainty)
    if _kept.get(factors, (None,))[0] != key:
        _kept[factors] = key, preconditioner(factors, ridge, uncertainty=uncertainty)
    return _kept[factors][1]


def _diagonal(factors: Factors) -> torch.Tensor:
    """Return D of ``(..., 1, *shape)``, or raise InputError where there is none."""
    if factors.terms != 1:
        _refuse("have one term", f"{factors.terms} terms")
    if factors.u is None and factors.v is None:
        return factors.kernel.values.new_ones(1, *factors.shape).real
    if factors.u is None or factors.v is None or not torch.equal(factors.u, factors.v):
        _refuse("have equal diagonals u = v", _difference(factors))
    u = factors.u
    if u.is_complex() and bool(u.imag.any()):
        _refuse("have a real diagonal u", f"an imaginary part of {float(u.imag.abs().max()):.3g}")
    u = u.real if u.is_complex() else u
    axes = tuple(range(-len(factors.shape), 0))
    low, high = float(u.min()), float(u.amax(axes).min())
    if not (low >= 0 and 0 < high < math.inf):
        _refuse(
            "have a diagonal u of zero or more, not zero everywhere", f"{low:.3g} to {high:.3g}"
        )
    return u.square()


def _inverse_grid(kernel: LagKernel) -> LagGrid:
    """Return the lags of an inverse: all, and lag zero where the kernel has no other."""
    full = LagGrid.full(kernel.shape, kernel.boundary).lags
    lags = [1 if length == 1 else n for length, n in zip(kernel.lags, full, strict=True)]
    return LagGrid(kernel.shape, tuple(lags), kernel.boundary)


def _spectrum(kernel: LagKernel, grid: LagGrid, *, half: bool) -> torch.Tensor:
    """Return ``f* C f / |f|²`` on the points of `grid`, clamped at zero."""
    largest = float(kernel.values.abs().max())
    skew = float((kernel.values - kernel.adjoint.values).abs().max())
    if not skew <= math.sqrt(torch.finfo(kernel.values.dtype).eps) * largest:
        _refuse("have a kernel with h(-τ) = conj h(τ)", f"a difference of {skew:.3g}")
    values = torch.nn.functional.pad(kernel.values, _margins(kernel.lags, grid.lags))
    weights = grid.overlap_counts().to(values.device) / math.prod(grid.shape)
    c = grid.spectrum(values * weights.to(values.real.dtype), half=half).real
    low, high = float(c.min()), float(c.max())
    if not (low >= -_NEGATIVE * high and high > 0):
        _refuse("have a kernel with a spectrum of zero or more", f"{low:.3g} to {high:.3g}")
    return c.clamp_min(0)


def _margins(lags: tuple[int, ...], full: tuple[int, ...]) -> list[int]:
    """Return the lags missing before and behind, per axis, last axis first, as torch pads."""
    before = [m // 2 - length // 2 for length, m in zip(lags, full, strict=True)]
    behind = [m - length - b for length, m, b in zip(lags, full, before, strict=True)]
    return [
        count for pair in zip(reversed(before), reversed(behind), strict=True) for count in pair
    ]


def _difference(factors: Factors) -> str:
    if factors.u is None or factors.v is None:
        return "u absent" if factors.u is None else "v absent"
    if factors.u.shape != factors.v.shape:
        return f"shapes {tuple(factors.u.shape)} and {tuple(factors.v.shape)}"
    return f"a difference of {float((factors.u - factors.v).abs().max()):.3g}"


def _check_arguments(ridge: float, floor: float, uncertainty: float) -> None:
    values: dict[str, Any] = {"ridge": ridge, "floor": floor, "uncertainty": uncertainty}
    for name, value in values.items():
        if not isinstance(value, Real):
            msg = f"{name} must be a number, got {value!r}"
            raise InputError(msg)
    if not 0 < ridge < math.inf:
        msg = f"ridge must be positive and finite, got {ridge}; take 1e-3 of the norm of A*A"
        raise InputError(msg)
    if not 0 < floor <= 1:
        msg = f"floor must be above 0 and at most 1, got {floor}"
        raise InputError(msg)
    if not 0 <= uncertainty < math.inf:
        msg = f"uncertainty must be zero or more, got {uncertainty}"
        raise InputError(msg)


def _refuse(requirement: str, got: str) -> NoReturn:
    msg = f"factors must {requirement}, got {got}; {_REMEDY}"
    raise InputError(msg)
