"""FreeAlternation: a sweep of alternating least squares over ``u_k (h_k ∗ (v_k x))``, all free."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from normalfit.diagonal_step import fit_diagonals
from normalfit.inner_diagonal_step import solve_inner_diagonals
from normalfit.kernel_step import expected_gram, fit_kernels
from normalfit.probed_terms import ProbedTerms
from normalfit.shrinkage import lag_shells

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from normalfit.diagonal_step import DiagonalStep
    from normalfit.lag_grid import LagGrid
    from normalfit.least_squares_options import LeastSquaresOptions
    from normalfit.probes import ProbeSet
    from normalfit.terms import Terms


class FreeAlternation:
    """The steps of the alternation, on one set of probes; v is fitted where the terms have it.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid.
    training
        Probes and responses to fit to.
    self_adjoint
        Whether N is. Then every response is also one of ``N*``: the kernels are fitted to both,
        and v has a closed form per voxel as u has.
    options
        Ridges and the conjugate gradients.
    """

    def __init__(
        self,
        grid: LagGrid,
        training: ProbeSet,
        options: LeastSquaresOptions,
        *,
        self_adjoint: bool,
    ) -> None:
        self._grid, self._training, self._options = grid, training, options
        self._self_adjoint = self_adjoint
        self._shells = lag_shells(grid).to(training.responses[0].device)

    def sweep(self, terms: Terms, noise: float) -> tuple[Terms, float]:
        """Return the terms after one step of each kind, and their error on the training probes.

        Parameters
        ----------
        terms
            Where to start.
        noise
            Variance per voxel of what `terms` leaves unexplained on held-out probes.
        """
        terms = terms.orthogonalised() if terms.v is None else terms.scaled_to_one()
        terms = self._kernel_step(terms, noise)
        terms, error = self._outer_step(terms, noise)
        if terms.v is None:
            return terms, error
        inner = self._inner_step if self._self_adjoint else self._inner_solve
        return inner(terms, noise), error

    def _kernel_step(self, terms: Terms, noise: float) -> Terms:
        probed = self._probed(terms, both_sides=self._self_adjoint)
        gram = expected_gram(self._grid, terms.u, terms.v, probed.energy)
        responses = self._training.responses
        step = fit_kernels(
            probed,
            (r for _ in range(1 + self._self_adjoint) for r in responses),
            terms.h,
            terms.kernel_ridge,
            gram,
            self._shells,
            noise=noise,
            options=self._options,
        )
        return replace(terms, h=step.kernels, kernel_ridge=step.ridge)

    def _outer_step(self, terms: Terms, noise: float) -> tuple[Terms, float]:
        features = self._probed(terms).features(terms.h)
        step = self._fit_diagonals(features, terms.u, terms.u_ridge, noise)
        return replace(terms, u=step.image, u_ridge=step.ridge), step.error

    def _inner_step(self, terms: Terms, noise: float) -> Terms:
        """Fit v in closed form: N w = B* w, in which its conjugate stands where u stands."""
        assert terms.v is not None  # noqa: S101 - the caller looked
        features = self._probed(terms, both_sides=True).adjoint_features(terms.h)
        last = terms.v.conj().resolve_conj()
        step = self._fit_diagonals(features, last, terms.v_ridge, noise)
        return replace(terms, v=step.image.conj().resolve_conj(), v_ridge=step.ridge)

    def _inner_solve(self, terms: Terms, noise: float) -> Terms:
        return solve_inner_diagonals(
            self._grid,
            self._training,
            terms,
            noise=noise,
            ridge_factor=self._options.ridge_u,
            iterations=self._options.cg_iterations,
            tolerance=self._options.cg_tolerance,
        )

    def _fit_diagonals(
        self,
        features: Iterator[torch.Tensor],
        last: torch.Tensor,
        ridge: torch.Tensor,
        noise: float,
    ) -> DiagonalStep:
        factor = self._options.ridge_u
        return fit_diagonals(
            features, self._training, last, ridge, noise=noise, ridge_factor=factor
        )

    def _probed(self, terms: Terms, *, both_sides: bool = False) -> ProbedTerms:
        return ProbedTerms(
            self._grid, self._training.probes, terms.u, terms.v, both_sides=both_sides
        )
