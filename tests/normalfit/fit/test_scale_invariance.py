"""A fit does not depend on the scale of the operator, and says so where it cannot be made."""

import math

import pytest
import torch

from normalfit.errors import InputError
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import FunctionOperator
from normalfit.model import MODELS, Model
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probes import ProbeSet, collect_responses
from normalfit.progress import no_progress
from normalfit.refinement import Refinement
from normalfit.response_folder import LazyTensors
from normalfit.spectral_norm import spectral_norm
from normalfit.terms import Terms

SHAPE = (6, 7)
FEW_SWEEPS = LeastSquaresOptions(sweeps=2, trial_sweeps=1)


def scanner(scale=1.0):
    angles = torch.linspace(0, torch.pi, 9)[:-1].double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=11, column_mm=1.0)
    A = ParallelBeam(Grid(SHAPE, (1.0, 1.0)), geometry)
    return FunctionOperator(
        A.domain, A.range, lambda x: scale * A.forward(x), lambda y: scale * A.adjoint(y)
    )


def sets(operator, dtype):
    how = {"seed": 0, "dtype": dtype}
    return [
        collect_responses(operator.normal, SHAPE, count, stream=stream, **how)
        for count, stream in ((12, "training"), (4, "held-out"))
    ]


# in float32 only powers of two leave the rounding as it is, which several coils make grow
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float64, 1e-6),
        (torch.float64, 1e6),
        (torch.float32, 2.0**-20),
        (torch.float32, 2.0**20),
        (torch.float32, 2.0**28),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
def test_factors_scale_as_the_normal_operator(name, dtype, scale):
    options = {"local": {"windows": 2}, "multicoil": {"terms": 2}}.get(name, {})
    model = Model(name, **options)
    base, scaled = (
        fit_least_squares(*sets(scanner(s), dtype), model, options=FEW_SWEEPS) for s in (1.0, scale)
    )
    assert [p.held_out_error for p in scaled.history] == pytest.approx(
        [p.held_out_error for p in base.history], rel=1e-5
    )
    for one, other in (
        (scaled.factors.kernel.values / scale**2, base.factors.kernel.values),
        (scaled.factors.expanded(scaled.factors.u), base.factors.expanded(base.factors.u)),
    ):
        assert float((one - other).norm()) < 1e-5 * float(other.norm())


def test_a_warm_start_is_scaled_too():
    model = Model("symmetric")
    training, guide = sets(scanner(1e3), torch.float64)
    cold = fit_least_squares(training, guide, model)
    warm = fit_least_squares(training, guide, model, start=cold.factors)
    assert warm.history[0].held_out_error < 1.02 * cold.history[-1].held_out_error


def test_errors_and_norm_are_told_where_squares_overflow_in_float32():
    found = fit(scanner(2.0**34), model="symmetric", probes=12)  # |N| near 1e22
    assert found.report.grid_error.value < 0.5
    norm, scaled = (
        spectral_norm(scanner(s).normal, SHAPE, tolerance=1e-2).value for s in (1.0, 2.0**34)
    )
    assert scaled == pytest.approx(2.0**68 * norm, rel=1e-5)


def test_a_norm_that_overflows_names_what_is_not_finite():
    with pytest.raises(InputError, match=r"finite values, got (nan|inf) while .*; scale it"):
        spectral_norm(lambda x: 1e30 * (1e30 * x), SHAPE)


def test_a_scaled_set_reads_a_response_only_when_it_is_asked_for():
    read = []

    def response(index):
        read.append(index)
        return torch.full(SHAPE, float(index))

    probes = LazyTensors(lambda _: torch.ones(SHAPE), 5, SHAPE)
    scaled = ProbeSet(probes, LazyTensors(response, 5, SHAPE)).scaled(2.0)
    assert read == []
    assert float(scaled.responses[3].mean()) == 6.0
    assert read == [3]


def test_a_fit_that_ends_in_nan_is_refused_with_the_value():
    training, guide = sets(scanner(), torch.float32)
    grid = Model("symmetric").lag_grid(SHAPE)
    refinement = Refinement(grid, training, guide, LeastSquaresOptions(), no_progress)
    bad = Terms.none(grid, guide.responses[0]).with_new_term(torch.Generator())
    bad.h.fill_(math.nan)
    with pytest.raises(InputError, match="held-out error must be finite, got nan"):
        refinement.run(lambda terms, noise: (terms, noise), bad)
