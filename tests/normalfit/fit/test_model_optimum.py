"""With all unit vectors as probes and no ridge, every model reaches the best of a brute search."""

import math
from dataclasses import dataclass

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.dense_search import search, sum_of_terms
from normalfit.grid import Grid
from normalfit.hermitian import reflected
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.model import Model
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probes import ProbeSet
from normalfit.windows import lattice_windows

SHAPE = (3, 5)
SAMPLES = 15
EXACTLY = LeastSquaresOptions(
    ridge_kernel=0.0,
    ridge_u=0.0,
    sweeps=150,
    patience=2,
    min_improvement=1e-6,
    stage_improvement=1e-4,
    starts=10,
    trial_sweeps=10,
    cg_iterations=60,
    cg_tolerance=1e-12,
)


def scanner():
    """Five views of a parallel beam."""
    angles = torch.linspace(0.1, 2.6, 5).double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=7, column_mm=1.0)
    return dense_matrix(ParallelBeam(Grid(SHAPE, (1.0, 1.0)), geometry).normal, SHAPE)


def turning_blur():
    """A rough blur along a line that turns from one end of the grid to the other."""
    place = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in SHAPE])
    step = place[:, None] - place[None, :]
    angle = math.pi / 2 * place[:, 1] / (SHAPE[1] - 1)
    across = step[..., 0] * angle.cos()[:, None] - step[..., 1] * angle.sin()[:, None]
    along = step[..., 0] * angle.sin()[:, None] + step[..., 1] * angle.cos()[:, None]
    rough = torch.randn(SAMPLES, SAMPLES, generator=torch.Generator().manual_seed(1))
    A = torch.exp(-(across**2) - along**2 / 6) * (1 + 0.3 * rough.double())
    return A.T @ A


def random_operator(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(12, SAMPLES, dtype=dtype, generator=draw)
    return A.mH @ A


def unit_probes(N):
    unit = torch.eye(SAMPLES, dtype=N.dtype).reshape(SAMPLES, *SHAPE)
    return ProbeSet(unit, N.T.reshape(SAMPLES, *SHAPE).contiguous())


@dataclass(frozen=True)
class Parametrised:
    """The matrix of a model from real parameters, written without the fit's own steps."""

    model: Model
    dtype: torch.dtype
    self_adjoint: bool

    @property
    def grid(self):
        return self.model.lag_grid(SHAPE)

    @property
    def windows(self):
        counts = self.model.window_counts(SHAPE)
        return lattice_windows(SHAPE, counts).flatten(1).to(self.dtype)

    @property
    def sizes(self):
        """Rows and entries of the diagonals and kernels."""
        terms, lags = self.model.terms or 1, math.prod(self.grid.lags)
        return {
            "diagonal-circulant": [(terms, SAMPLES), (terms, lags)],
            "two-sided": [(terms, SAMPLES), (terms, lags), (terms, SAMPLES)],
            "symmetric": [(1, SAMPLES), (1, lags)],
            "local": [(1, SAMPLES), (len(self.windows), lags)],
            "multicoil": [(terms, SAMPLES), (1, lags)],
        }[self.model.name][: 2 if self.self_adjoint else 3]

    @property
    def num_parameters(self):
        return (1 + self.dtype.is_complex) * sum(a * b for a, b in self.sizes)

    def matrix(self, theta):
        parts, first = [], 0
        for rows, length in self.sizes:
            count = (1 + self.dtype.is_complex) * rows * length
            part, first = theta[first : first + count], first + count
            if self.dtype.is_complex:
                part = torch.complex(*part.reshape(2, -1))
            parts.append(part.reshape(rows, length))
        d, h, name = parts[0], parts[1], self.model.name
        if name == "diagonal-circulant":
            return sum_of_terms(self.grid, d, h, torch.ones_like(d))
        if name == "local":
            return sum_of_terms(self.grid, d * self.windows, h, torch.ones_like(self.windows))
        if name == "symmetric":
            d = torch.exp(d / 2)
            return sum_of_terms(self.grid, d, self.positive(h), d)
        if not self.self_adjoint:
            return sum_of_terms(self.grid, d, h, parts[2])
        return sum_of_terms(self.grid, d.conj(), self.tied(h), d)

    def tied(self, h):
        h = h.reshape(-1, *self.grid.lags)
        return ((h + reflected(h, self.grid.lags)) / 2).flatten(1)

    def positive(self, root):
        """The kernel of a spectrum of squares: on this grid there are as many as lags."""
        assert self.grid.fft_shape == self.grid.lags
        spectrum = root.reshape(self.grid.lags).square()
        even = (spectrum + spectrum.flip((0, 1)).roll((1, 1), (0, 1))) / 2
        return torch.fft.fftshift(torch.fft.ifft2(even).real).reshape(1, -1)


CASES = [
    (scanner(), Model("diagonal-circulant", terms=1), True),
    (scanner(), Model("diagonal-circulant", terms=2), True),
    (scanner(), Model("two-sided", terms=1), True),
    (scanner(), Model("two-sided", terms=1), False),
    pytest.param(random_operator(), Model("two-sided", terms=2), True, marks=pytest.mark.slow),
    (scanner(), Model("symmetric"), True),
    (scanner(), Model("symmetric", "periodic"), True),
    (turning_blur(), Model("local", windows=(1, 3)), True),
    (scanner(), Model("multicoil", terms=2), True),
    (random_operator(torch.complex128), Model("multicoil", "periodic", terms=1), True),
    pytest.param(
        random_operator(torch.complex128), Model("multicoil", "periodic", terms=2), True,
        marks=pytest.mark.slow,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("N", "model", "self_adjoint"), CASES)
def test_every_model_reaches_the_best_of_twenty_starts(N, model, self_adjoint):
    probes = unit_probes(N)
    found = fit_least_squares(probes, probes, model, self_adjoint=self_adjoint, options=EXACTLY)
    reached = torch.linalg.norm(dense_matrix(found.factors, SHAPE, N.dtype) - N)
    brute = Parametrised(model, N.dtype, self_adjoint)
    best = search(N, brute.matrix, brute.num_parameters, starts=20)
    assert float(reached) <= 1.01 * float(best.errors[0])
