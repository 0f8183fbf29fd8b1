"""Fits that go on from factors: what they keep, what they grow to, what they refuse."""

from dataclasses import replace

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.least_squares import fit_least_squares
from normalfit.model import Model
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probe_set_error import probe_set_error
from normalfit.probes import collect_responses

SHAPE = (9, 8)
TWO_SIDED = Model("two-sided", terms=1)
EVERY_MODEL = [
    Model("diagonal-circulant", terms=2),
    Model("two-sided", terms=2),
    Model("symmetric"),
    Model("local", windows=2),
    Model("multicoil"),
]


def scanner():
    angles = torch.linspace(0, torch.pi, 13)[:-1].double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=13, column_mm=1.0)
    return ParallelBeam(Grid(SHAPE, (1.0, 1.0)), geometry)


def sets(operator, probes):
    streams = {"training": probes, "held-out": 8}
    return [
        collect_responses(operator.normal, SHAPE, count, seed=0, stream=stream, dtype=torch.float64)
        for stream, count in streams.items()
    ]


@pytest.mark.parametrize("model", EVERY_MODEL, ids=str)
def test_a_warm_start_is_there_after_one_sweep(model):
    training, guide = sets(scanner(), 40)
    cold = fit_least_squares(training, guide, model)
    warm = fit_least_squares(training, guide, model, start=cold.factors)
    assert warm.num_terms == cold.num_terms
    assert len(warm.history) <= len(cold.history)
    if len(cold.history) > 4:  # fewer are what it takes to see that nothing falls any more
        assert len(warm.history) < len(cold.history)
    lowest = [min(point.held_out_error for point in f.history) for f in (warm, cold)]
    assert lowest[0] < 1.02 * lowest[1]
    assert warm.history[0].held_out_error < 1.02 * lowest[1]


def test_a_start_of_fewer_terms_grows_on():
    training, guide = sets(scanner(), 40)
    one = fit_least_squares(training, guide, TWO_SIDED)
    two = fit_least_squares(training, guide, replace(TWO_SIDED, terms=2), start=one.factors)
    assert two.num_terms == 2
    first, last = one.history[-1].held_out_error, two.history[0].held_out_error
    assert last < first * 1.05


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model("two-sided", "periodic", terms=2), "have the lags of the fit"),
        (Model("two-sided", terms=2, lags=5), "have the lags of the fit"),
        (Model("diagonal-circulant", terms=2), "be of the model diagonal-circulant"),
        (TWO_SIDED, "have at most 1 terms, got 2"),
        (Model("symmetric"), "have 1 terms, got 2"),
        (Model("multicoil", terms=3), "have 3 terms, got 2"),
        (Model("multicoil", terms=2), "have one kernel for all coils, got 2 kernels"),
    ],
    ids=str,
)
def test_starts_that_do_not_fit_are_refused(model, message):
    training, guide = sets(scanner(), 6)
    two = fit_least_squares(training, guide, replace(TWO_SIDED, terms=2)).factors
    with pytest.raises(InputError, match=f"start must {message}"):
        fit_least_squares(training, guide, model, start=two)


def test_untied_and_complex_starts_are_refused_where_terms_are_tied_and_real():
    training, guide = sets(scanner(), 6)
    one = fit_least_squares(training, guide, TWO_SIDED).factors
    assert one.v is not None
    untied = replace(one, v=2 * one.v)
    with pytest.raises(InputError, match=r"start must have u = conj\(v\)"):
        fit_least_squares(training, guide, TWO_SIDED, start=untied)
    fit_least_squares(training, guide, TWO_SIDED, self_adjoint=False, start=untied)
    with pytest.raises(InputError, match="start must be real as the probes are"):
        fit_least_squares(training, guide, TWO_SIDED, start=one.to("cpu", torch.complex128))


@pytest.mark.parametrize("model", EVERY_MODEL, ids=str)
def test_a_start_from_many_probes_stays_where_few_lead_to_nothing_better(model):
    many, guide = sets(scanner(), 128)
    few, _ = sets(scanner(), 2)
    start = fit_least_squares(many, guide, model).factors
    cold, warm = (fit_least_squares(few, guide, model, start=f).factors for f in (None, start))
    known, anew, found = (probe_set_error(guide, f).value for f in (start, cold, warm))
    assert anew > 1.1 * known
    assert found <= known * (1 + 1e-6)


def test_a_start_that_stays_is_one_of_its_model():
    """Two-sided factors, whose spectrum is negative somewhere, start a symmetric fit."""
    many, guide = sets(scanner(), 128)
    few, _ = sets(scanner(), 2)
    start = fit_least_squares(many, guide, TWO_SIDED).factors
    lopsided = start.kernel.values.clone()
    lopsided[..., 0] += 0.01 * lopsided.max()
    start = replace(start, kernel=replace(start.kernel, values=lopsided))
    values = torch.linalg.eigvals(dense_matrix(start, SHAPE)).real
    assert float(values.min()) < -1e-3 * float(values.max())
    found = fit_least_squares(few, guide, Model("symmetric"), start=start).factors
    assert found.is_self_adjoint
    values = torch.linalg.eigvalsh(dense_matrix(found, SHAPE))
    assert float(values.min()) >= -1e-12 * float(values.max())
    assert fit_least_squares(few, guide, TWO_SIDED, start=start).factors.is_self_adjoint


@pytest.mark.parametrize("other", [(1, 4), (4, 1), None], ids=str)
def test_a_start_of_other_windows_is_refused(other):
    """Their numbers are the same; a sum of terms of another model has any diagonals."""
    scan = scanner()
    wanted = Model("local", windows=(2, 2))
    if other is None:
        start = fit(scan, model=wanted, probes=2, evaluation=2, held_out=2).factors
        start = replace(start, u=start.u.flip(0))
    else:
        start = fit(scan, model="local", windows=other, probes=2, evaluation=2, held_out=2).factors
    with pytest.raises(InputError, match="start must have diagonals d w_k with the windows"):
        fit(scan, model=wanted, start=start, probes=2)


def test_a_start_that_is_none_or_has_batch_axes_is_refused():
    scan = scanner()
    result = fit(scan, terms=1, probes=2, evaluation=2, held_out=2)
    with pytest.raises(InputError, match=r"start must be Factors, got FitResult; .* \.factors"):
        fit(scan, terms=1, start=result, probes=2)
    factors = result.factors
    assert factors.u is not None
    images = torch.stack([factors.u] * 2)
    for start in (
        replace(factors, u=images, v=images),
        replace(factors, kernel=replace(factors.kernel, values=factors.kernel.values[None])),
    ):
        with pytest.raises(InputError, match=r"start must have no batch axes, got an array of"):
            fit(scan, terms=1, start=start, probes=2)
