"""TiedDescent: a sweep over ``conj(v_k) (h_k ∗ (v_k x))`` that moves v and h together (L-BFGS).

Alternation creeps where coils and their kernel hold on to each other, and its diagonal step
overshoots with several coils that share a kernel.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from normalfit.diagonal_prior import apply_ridge, diagonal_ridge, mean_ridge
from normalfit.hermitian import hermitian
from normalfit.term_values import spread_over_image

if TYPE_CHECKING:
    from normalfit.lag_grid import LagGrid
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.probes import ProbeSet
    from normalfit.terms import Terms
    from normalfit.tied_alternation import TiedAlternation

_ITERATIONS = 10  # of a sweep: as many passes over the probes as four sweeps of alternation
_CURVATURE = 1e-3  # share of the mean information that every voxel and lag is taken to have


class TiedDescent:
    """The steps of the descent for a self-adjoint N, on one set of probes.

    A sweep is a kernel step of the alternation, which also finds the ridge of the kernels, and
    then L-BFGS on the kernels and the diagonals, each scaled by what the probes are expected to
    know about it.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid.
    training
        Probes and responses to fit to.
    options
        Its ridges.
    alternation
        Of the same grid, probes and options.
    """

    def __init__(
        self,
        grid: LagGrid,
        training: ProbeSet,
        options: LeastSquaresOptions,
        alternation: TiedAlternation,
    ) -> None:
        self._grid, self._training, self._options = grid, training, options
        self._alternation = alternation
        self._total = training.response_energy * len(training) * math.prod(grid.shape)

    def sweep(self, terms: Terms, noise: float) -> tuple[Terms, float]:
        """Return the terms after the descent, and their training error.

        Parameters
        ----------
        terms
            Where to start; one kernel for all terms, or one for each.
        noise
            Variance per voxel of what `terms` leaves unexplained on held-out probes.
        """
        terms, known_h = self._alternation.kernel_step(terms.scaled_to_one(), noise)
        assert terms.v is not None  # noqa: S101 - tied terms have one
        known_v = self._information(terms)
        ridge = self._options.ridge_u * diagonal_ridge(terms.v, known_v, terms.v_ridge, noise)
        scale_h = _scale(known_h + terms.kernel_ridge)
        scale_v = _scale(known_v + spread_over_image(mean_ridge(ridge, self._grid.shape), terms.v))
        x_h = torch.nn.Parameter((terms.h / scale_h).contiguous())
        x_v = torch.nn.Parameter((terms.v / scale_v).contiguous())
        optimiser = torch.optim.LBFGS(
            [x_h, x_v],
            max_iter=_ITERATIONS,
            max_eval=2 * _ITERATIONS,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=_ITERATIONS,
            line_search_fn="strong_wolfe",
        )
        start = replace(terms, v_ridge=ridge, u_ridge=ridge)

        def closure() -> float:
            h, v = (x_h * scale_h).detach(), (x_v * scale_v).detach()
            loss, grad_h, grad_v = self._gradient(replace(start, h=h, v=v))
            # the optimiser insists on contiguous ones; FFTs over three axes leave others
            x_h.grad, x_v.grad = (grad_h * scale_h).contiguous(), (grad_v * scale_v).contiguous()
            return loss

        with torch.enable_grad():  # the optimiser insists on leaves; no graph is made
            optimiser.step(closure)  # type: ignore[no-untyped-call] # torch says nothing
        h, v = (x_h * scale_h).detach(), (x_v * scale_v).detach()
        moved = replace(start, h=hermitian(h, self._grid), v=v, u=v.conj().resolve_conj())
        return moved, self._error(moved)

    def _gradient(self, terms: Terms) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Return the loss, relative to that of zeros, and its gradients by h and by v."""
        grid, v = self._grid, terms.v
        assert v is not None  # noqa: S101
        half = not terms.h.is_complex()
        conjugate = v.conj().resolve_conj()
        spectrum = grid.spectrum(terms.h, half=half)
        squares, lags, grad_v = 0.0, None, torch.zeros_like(v)
        for w, response in zip(self._training.probes, self._training.responses, strict=True):
            probe = grid.transform(v * w, half=half)
            f = grid.inverse(probe * spectrum, half=half)
            residual = (conjugate * f).sum(0) - response
            squares += float(torch.linalg.vector_norm(residual)) ** 2
            image = grid.transform(v * residual, half=half)
            inner = grid.inverse(image * spectrum.conj(), half=half)
            grad_v += residual.conj() * f + w.conj() * inner
            part = probe.conj() * image
            part = part.sum(0, keepdim=True) if len(terms.h) < len(v) else part
            lags = part if lags is None else lags.add_(part)
        assert lags is not None  # noqa: S101 - a probe set is never empty
        grad_h = hermitian(grid.inverse_lags(lags, half=half), grid) + terms.kernel_ridge * terms.h
        deviation = v - spread_over_image(v.flatten(1).mean(1), v)
        ridged = apply_ridge(terms.v_ridge, deviation)
        grad_v += ridged
        penalty = (terms.kernel_ridge * terms.h.abs().square()).sum()
        penalty = penalty + (ridged.conj() * deviation).real.sum()
        scale = 1 / self._total
        return (squares + float(penalty)) * scale, 2 * scale * grad_h, 2 * scale * grad_v

    def _information(self, terms: Terms) -> torch.Tensor:
        """Return what the probes know about every voxel of v, on both of its sides."""
        half = not terms.h.is_complex()
        spectrum = self._grid.spectrum(terms.h, half=half)
        total = torch.zeros_like(terms.u.real)
        v = terms.u.conj().resolve_conj()
        for w in self._training.probes:
            total += self._grid.convolve(v * w, spectrum, half=half).abs().square()
        return 2 * total

    def _error(self, terms: Terms) -> float:
        factors = terms.factors(self._grid)
        squares = sum(
            float(torch.linalg.vector_norm(factors(w) - response)) ** 2
            for w, response in zip(self._training.probes, self._training.responses, strict=True)
        )
        return math.sqrt(squares / self._total)


def _scale(information: torch.Tensor) -> torch.Tensor:
    return (information + _CURVATURE * information.mean()).rsqrt()
