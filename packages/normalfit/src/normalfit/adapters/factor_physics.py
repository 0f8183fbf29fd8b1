"""FactorPhysics: a deepinv LinearPhysics whose ``A_adjoint_A`` is factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from normalfit.adapters.factor_module import FactorModule
from normalfit.errors import BackendError, InputError

try:
    from deepinv.physics import LinearPhysics
except ImportError as error:  # pragma: no cover - the workspace installs it
    message = "deepinv must be installed for FactorPhysics, got none; install normalfit[deepinv]"
    raise BackendError(message) from error

if TYPE_CHECKING:
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator


class FactorPhysics(LinearPhysics):  # type: ignore[misc] # deepinv publishes no types
    """``A`` and ``A*`` of an operator, and factors ``B`` for ``A*A``.

    Images are ``(batch, 1, *shape)``, and two channels (real, imaginary) for a complex operator;
    measurements are ``(batch, *range)``, complex as the operator makes them.

    deepinv (0.5) calls `A_adjoint_A` in the gradient of the L2 data fidelity, thus in every
    proximal-gradient solver and unrolled network; in `prox_l2` and `A_dagger` with CG or MINRES;
    and in `compute_norm`. Mind that ``B x - A* y`` is zero at ``(B)⁻¹ A* y``, not at the solution
    of the exact problem: where that matters, take factors only for steps from a point with the
    exact gradient, as partunroll does.

    Parameters
    ----------
    operator
        ``A``.
    factors
        ``B``, on the domain of `operator`.
    **options
        Of deepinv's `LinearPhysics` (noise_model, solver, max_iter, tol, ...).

    Raises
    ------
    InputError
        The factors are on another grid, or complex for a real operator; later, images have
        other channels.
    """

    def __init__(self, operator: LinearOperator, factors: Factors, **options: Any) -> None:
        if factors.shape != operator.domain.shape:
            msg = f"factors must be on the grid {operator.domain.shape}, got {factors.shape}"
            raise InputError(msg)
        if factors.is_complex and not operator.is_complex:
            msg = f"factors must be real for a real operator, got {factors.result_dtype}"
            raise InputError(msg)
        self._channels = 2 if operator.is_complex else 1
        size = (self._channels, *operator.domain.shape)
        super().__init__(img_size=size, **options)
        self._operator = operator
        self._normal = FactorModule(factors)

    def A(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return ``A x``, ``(batch, *range)``."""
        return self._operator.forward(self._volume(x))

    def A_adjoint(self, y: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return ``A* y``, ``(batch, channels, *shape)``."""
        return self._image(self._operator.adjoint(y))

    def A_adjoint_A(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return ``B x``, ``(batch, channels, *shape)``."""
        return self._image(self._normal(self._volume(x)))

    def _volume(self, x: torch.Tensor) -> torch.Tensor:
        wanted = self._operator.domain.num_axes + 2
        if x.ndim != wanted or x.shape[1] != self._channels:
            msg = (
                f"x must be (batch, {self._channels}, *{self._operator.domain.shape}), "
                f"got {tuple(x.shape)}; fold other channels into the batch"
            )
            raise InputError(msg)
        return torch.complex(x[:, 0], x[:, 1]) if self._channels == 2 else x[:, 0]

    def _image(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.real, x.imag], 1) if self._channels == 2 else x[:, None]
