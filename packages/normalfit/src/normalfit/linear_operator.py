"""LinearOperator: a matrix-free A with its adjoint.  FunctionOperator wraps two callables."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

import torch

from normalfit.errors import InputError
from normalfit.precision import check_precision
from normalfit.user_code import user_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.grid import Grid, Patch
    from normalfit.lag_grid import Boundary


class LinearOperator(abc.ABC):
    """A linear map ``A`` from volumes to measurements, known only by what it does.

    A subclass sets `domain` and `range` and implements `_forward` and `_adjoint` on tensors
    with exactly one batch axis. The public methods check shapes, also those of results, take
    any number of leading batch axes, keep dtype and device, and are differentiable: the
    backward pass of one direction is the other, and stores nothing.

    Attributes
    ----------
    domain
        Grid of ``x``.
    range
        Grid of ``y = A x``.
    has_exact_adjoint
        Whether `adjoint` is the exact adjoint of `forward` (ASTRA's 3-D pair is not).
    is_complex
        Whether the domain is complex: `fit` then draws complex probes.
    boundary, kernel_lags
        What suits factors of ``A*A`` and is taken where a model leaves it open: 'linear' or
        'periodic', for all axes or per axis, and the most lags per axis (None is all of them).
    """

    domain: Grid
    range: Grid
    has_exact_adjoint: bool = True
    is_complex: bool = False
    boundary: Boundary | tuple[Boundary, ...] = "linear"
    kernel_lags: tuple[int | None, ...] | None = None

    @abc.abstractmethod
    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, *domain.shape)`` to ``(batch, *range.shape)``."""

    @abc.abstractmethod
    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, *range.shape)`` to ``(batch, *domain.shape)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``A x``, shape ``(..., *range.shape)``, for x ``(..., *domain.shape)``.

        Raises
        ------
        InputError
            The trailing axes of `x` are not the domain, its dtype is not single or double
            precision, or the subclass returns another shape than it says.
        """
        _check_argument("x", x, self.domain)
        return _Apply.apply(x, self._checked_forward, self._checked_adjoint, self.domain.num_axes)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return ``A* y``, shape ``(..., *domain.shape)``, for y ``(..., *range.shape)``.

        Raises
        ------
        InputError
            The trailing axes of `y` are not the range, its dtype is not single or double
            precision, or the subclass returns another shape than it says.
        """
        _check_argument("y", y, self.range)
        return _Apply.apply(y, self._checked_adjoint, self._checked_forward, self.range.num_axes)

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``N x = A*A x``, same shape as `x`; costs one forward and one adjoint."""
        return self.adjoint(self.forward(x))

    @property
    def probe_dtype(self) -> torch.dtype:
        """The dtype of probes in single precision."""
        return torch.complex64 if self.is_complex else torch.float32

    def restricted(self, patch: Patch) -> LinearOperator:
        """Return ``A Pᵀ``: the operator on one patch, everything else zero.

        Its `normal` is exactly ``P A*A Pᵀ``. Its range holds at least the measurements that
        the patch meets, and may leave out the others. This fallback embeds the patch into
        the whole domain; operators of which a patch sees only a part override it.

        Raises
        ------
        InputError
            The patch does not lie inside the domain.
        """
        return _EmbeddedOperator(self, patch)

    def _checked_forward(self, x: torch.Tensor) -> torch.Tensor:
        return _checked_result("forward", self._forward(x), (len(x), *self.range.shape))

    def _checked_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return _checked_result("adjoint", self._adjoint(y), (len(y), *self.domain.shape))


def check_operator(thing: object) -> None:
    """Refuse what is no `LinearOperator`.

    Raises
    ------
    InputError
        It is none; the message says what makes one.
    """
    if not isinstance(thing, LinearOperator):
        msg = (
            f"operator must be a LinearOperator, got {type(thing).__name__}; "
            "make one with normalfit.as_operator"
        )
        raise InputError(msg)


class FunctionOperator(LinearOperator):
    """A linear operator made of two callables.

    Parameters
    ----------
    domain, range
        Grids of ``x`` and of ``y``.
    forward, adjoint
        Callables on tensors of shape ``(*domain.shape)`` and ``(*range.shape)``, or with one
        leading batch axis if `batched`. What they raise becomes an InputError. That they are
        linear and each other's adjoint is not checked here; `normalfit check` does.
    has_exact_adjoint, is_complex
        As for `LinearOperator`.
    """

    def __init__(
        self,
        domain: Grid,
        range: Grid,  # noqa: A002 - the field's word, and the attribute's name
        forward: Callable[[torch.Tensor], torch.Tensor],
        adjoint: Callable[[torch.Tensor], torch.Tensor],
        *,
        batched: bool = False,
        has_exact_adjoint: bool = True,
        is_complex: bool = False,
    ) -> None:
        self.domain = domain
        self.range = range
        self.has_exact_adjoint = has_exact_adjoint
        self.is_complex = is_complex
        self._forward_function = forward if batched else _over_batch(forward)
        self._adjoint_function = adjoint if batched else _over_batch(adjoint)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        with user_code("forward must return a tensor"):
            return self._forward_function(x)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        with user_code("adjoint must return a tensor"):
            return self._adjoint_function(y)


class _EmbeddedOperator(LinearOperator):
    """``A Pᵀ`` by writing the patch into zeros: exact for any operator, at full cost."""

    def __init__(self, operator: LinearOperator, patch: Patch) -> None:
        patch.check_inside(operator.domain.shape)
        self.domain = type(operator.domain)(patch.shape, operator.domain.voxel_mm)
        self.range = operator.range
        self.has_exact_adjoint = operator.has_exact_adjoint
        self.is_complex = operator.is_complex
        self._operator = operator
        self._patch = patch

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._operator.forward(self._patch.embed(x, self._operator.domain.shape))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._patch.extract(self._operator.adjoint(y))


class _Apply(torch.autograd.Function):
    """A linear map whose backward pass is its adjoint (real or complex)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives the context no public type
        x: torch.Tensor,
        apply: Callable[[torch.Tensor], torch.Tensor],
        transposed: Callable[[torch.Tensor], torch.Tensor],
        num_axes: int,
    ) -> torch.Tensor:
        ctx.maps = apply, transposed
        ctx.is_complex = x.is_complex()
        batch = x.shape[: x.ndim - num_axes]
        result = apply(x.detach().reshape(-1, *x.shape[x.ndim - num_axes :]))
        if result.untyped_storage()._cdata == x.untyped_storage()._cdata:
            result = result.clone()  # of a function that returns its argument
        ctx.num_axes = result.ndim - 1
        return result.reshape(*batch, *result.shape[1:])

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient: torch.Tensor,
    ) -> tuple[torch.Tensor, None, None, None]:
        apply, transposed = ctx.maps
        result = _Apply.apply(gradient, transposed, apply, ctx.num_axes)
        real = result.is_complex() and not ctx.is_complex  # of a real x to complex measurements
        return (result.real if real else result), None, None, None


def _over_batch(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:  # noqa: ANN401
    def apply(batch: torch.Tensor) -> torch.Tensor:
        # an empty batch has the dtype and device of a result, too
        volumes = batch if len(batch) else batch.new_zeros(1, *batch.shape[1:])
        return torch.stack([function(x) for x in volumes])[: len(batch)]

    return apply


def _checked_result(name: str, result: object, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(result, torch.Tensor) and tuple(result.shape) == shape:
        return result
    got = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
    msg = f"{name} must return shape (..., {', '.join(map(str, shape[1:]))}), got {got}"
    raise InputError(msg)


def _check_argument(name: str, x: torch.Tensor, grid: Grid) -> None:
    check_precision(name, x)
    if tuple(x.shape[-grid.num_axes :]) != grid.shape:
        msg = f"{name} must have the trailing shape {grid.shape}, got {tuple(x.shape)}"
        raise InputError(msg)
