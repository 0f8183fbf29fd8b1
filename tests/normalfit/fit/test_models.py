"""What each model of a fit keeps to: its ties, its growth, complex operators."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.least_squares import fit_least_squares
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import FunctionOperator
from normalfit.model import MODELS, Model
from normalfit.operators.parallel_beam import ParallelBeam
from normalfit.operators.parallel_geometry import ParallelGeometry
from normalfit.probes import collect_responses

SHAPE = (9, 8)
TWO_SIDED = Model("two-sided", terms=1)


def scanner(shape=SHAPE):
    angles = torch.linspace(0, torch.pi, 13)[:-1].double().numpy()
    geometry = ParallelGeometry(angles_rad=angles, num_columns=13, column_mm=1.0)
    return ParallelBeam(Grid(shape, (1.0, 1.0)), geometry)


def sets(operator, probes=24, dtype=torch.float64, held_out=8):
    shape = operator.domain.shape
    how = {"seed": 0, "dtype": dtype}
    training = collect_responses(operator.normal, shape, probes, stream="training", **how)
    guide = collect_responses(operator.normal, shape, held_out, stream="held-out", **how)
    return training, guide


def dense_error(factors, operator, dtype=torch.float64):
    shape = operator.domain.shape
    N, B = (dense_matrix(f, shape, dtype) for f in (operator.normal, factors))
    return float(torch.linalg.norm(N - B) / torch.linalg.norm(N))


def dense_operator(dtype=torch.complex128, shape=(5, 4)):
    """A blur with random complex weights: nothing about it is real or shift-invariant."""
    size = math.prod(shape)
    place = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in shape])
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(size, size, dtype=torch.complex128, generator=draw)
    A = torch.eye(size) + 0.5 * A * torch.exp(-(torch.cdist(place, place) ** 2))
    A = A.to(dtype)
    return FunctionOperator(
        Grid(shape),
        Grid((size,)),
        lambda x: A.to(x.dtype) @ x.flatten(),
        lambda y: (A.mH.to(y.dtype) @ y).reshape(shape),
        is_complex=True,
    )


def cartesian_mri(coils, shape=(10, 8)):
    """Coil maps, a periodic FFT, and every second line beside the low frequencies."""
    place = torch.meshgrid(*[torch.linspace(-1, 1, n).double() for n in shape], indexing="ij")
    angles = 2 * math.pi * torch.arange(coils) / coils
    maps = torch.stack(
        [
            torch.exp(-((place[0] - a.sin()) ** 2 + (place[1] - a.cos()) ** 2) / 1.5)
            * torch.exp(1j * (a + 0.8 * (a.cos() * place[0] - a.sin() * place[1])))
            for a in angles.double()
        ]
    )
    mask = torch.zeros(shape, dtype=torch.float64)
    mask[:, ::2] = mask[:, :2] = 1

    def forward(x):
        return mask.to(x.real.dtype) * torch.fft.fft2(maps.to(x.dtype) * x, norm="ortho")

    def adjoint(y):
        image = torch.fft.ifft2(mask.to(y.real.dtype) * y, norm="ortho")
        return (maps.conj().to(y.dtype) * image).sum(0)

    return FunctionOperator(Grid(shape), Grid((coils, *shape)), forward, adjoint, is_complex=True)


SELF_ADJOINT = [TWO_SIDED, replace(TWO_SIDED, terms=2), Model("symmetric"), Model("multicoil")]


@pytest.mark.parametrize("model", SELF_ADJOINT, ids=str)
def test_tied_models_are_self_adjoint_to_the_last_bit(model):
    found = fit_least_squares(*sets(scanner()), model, options=LeastSquaresOptions(sweeps=2))
    assert found.factors.is_self_adjoint


def test_the_symmetric_model_is_positive():
    factors = fit_least_squares(*sets(scanner()), Model("symmetric")).factors
    assert factors.u is not None
    assert float(factors.u.min()) >= 0
    values = torch.linalg.eigvalsh(dense_matrix(factors, SHAPE))
    assert float(values.min()) >= -1e-12 * float(values.max())


def test_a_self_adjoint_operator_needs_fewer_probes():
    model = Model("diagonal-circulant", terms=1)
    errors = [
        dense_error(
            fit_least_squares(*sets(scanner(), 5), model, self_adjoint=known).factors, scanner()
        )
        for known in (True, False)
    ]
    assert errors[0] < 0.97 * errors[1]


def test_a_pair_that_is_not_self_adjoint_has_free_diagonals():
    draw = torch.Generator().manual_seed(0)
    weights = 1 + 0.4 * torch.randn(2, *SHAPE, generator=draw, dtype=torch.float64)
    scan = scanner()
    skew = FunctionOperator(
        Grid(SHAPE),
        scan.range,
        lambda x: scan.forward(weights[0] * x),
        lambda y: weights[1] * scan.adjoint(y),
        has_exact_adjoint=False,
    )
    found = fit(skew, model=TWO_SIDED, probes=48, dtype=torch.float64)
    one_sided = fit(skew, model="diagonal-circulant", terms=1, probes=48, dtype=torch.float64)
    assert not found.factors.is_self_adjoint
    assert dense_error(found.factors, skew) < 0.8 * dense_error(one_sided.factors, skew)


@pytest.mark.parametrize("name", ["diagonal-circulant", "two-sided"])
def test_terms_are_added_until_they_do_not_help(name):
    training, guide = sets(scanner(), 60, held_out=16)
    grown = fit_least_squares(training, guide, Model(name))
    counts = {point.terms for point in grown.history}
    assert grown.num_terms in counts
    assert counts <= set(range(1, min(grown.num_terms + 1, 4) + 1))
    lowest = {k: min(p.held_out_error for p in grown.history if p.terms == k) for k in counts}
    for k in range(2, grown.num_terms + 1):
        assert lowest[k] < lowest[k - 1]
    one = fit_least_squares(training, guide, Model(name, tolerance=0.9))
    assert one.num_terms == 1
    assert max(point.terms for point in one.history) == 1


def test_the_tolerance_stops_at_the_first_number_of_terms_that_meets_it():
    training, guide = sets(dense_operator(), 60, torch.complex128, held_out=32)
    errors = {
        k: min(p.held_out_error for p in found.history if p.terms == k)
        for k in (1, 2)
        for found in [fit_least_squares(training, guide, Model(terms=k))]
    }
    assert errors[2] < 0.95 * errors[1]
    middle = (errors[1] + errors[2]) / 2
    found = fit_least_squares(training, guide, Model(tolerance=middle))
    assert found.num_terms == 2
    assert max(point.terms for point in found.history) == 2


@pytest.mark.parametrize("name", MODELS)
def test_every_model_fits_a_grid_of_three_axes(name):
    weight = 1 + torch.arange(60, dtype=torch.float64).reshape(3, 4, 5) / 60
    mask = FunctionOperator(
        Grid((3, 4, 5)), Grid((3, 4, 5)), lambda x: weight * x, lambda y: weight * y
    )
    options = {"windows": 2} if name == "local" else {}
    options |= {"terms": 2} if name == "multicoil" else {}
    found = fit(mask, model=Model(name, **options), probes=8, dtype=torch.float64)
    assert found.report.grid_error.value < 0.2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("lags", "kept"), [(5, (5, 5)), ((3, 99), (3, 15))])
def test_lags_limit_every_kernel(name, lags, kept):
    windows = {"windows": 2} if name == "local" else {}
    model = Model(name, lags=lags, **windows)
    found = fit_least_squares(*sets(scanner(), 8), model, options=LeastSquaresOptions(sweeps=2))
    assert found.factors.lags == kept


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_every_model_fits_a_complex_operator(name, dtype):
    operator = dense_operator()
    options = {} if name in ("symmetric", "local") else {"terms": 1}
    options |= {"windows": 2} if name == "local" else {}
    found = fit(operator, model=Model(name, **options), probes=32, evaluation=64, dtype=dtype)
    assert found.factors.dtype == dtype
    error = dense_error(found.factors, operator, dtype)
    assert error == pytest.approx(found.report.grid_error.value, rel=0.1)
    assert error < 0.5


def test_a_complex_operator_has_complex_factors_that_a_real_kernel_cannot_match():
    operator, white = dense_operator(), LeastSquaresOptions(smooth_probes=0)
    how: dict[str, Any] = {"probes": 100, "dtype": torch.complex128, "options": white}
    found = fit(operator, model=TWO_SIDED, **how).factors
    assert found.v is not None
    assert found.v.imag.abs().max() > 0.1 * found.v.abs().max()
    positive = fit(operator, model="symmetric", **how).factors
    assert dense_error(found, operator, torch.complex128) < 0.98 * dense_error(
        positive, operator, torch.complex128
    )


@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_as_many_virtual_coils_as_coils_are_exact_on_cartesian_mri(coils, dtype):
    operator = cartesian_mri(coils)
    model = Model("multicoil", "periodic", terms=coils)
    options = LeastSquaresOptions(sweeps=12)
    found = fit_least_squares(*sets(operator, 32, dtype), model, options=options).factors
    assert (found.terms, found.kernel.terms) == (coils, 1)
    assert found.is_self_adjoint
    assert dense_error(found, operator, dtype) < 1e-2


def test_fewer_virtual_coils_are_an_equivalent_with_an_error():
    operator = cartesian_mri(3)
    errors = [
        dense_error(
            fit_least_squares(
                *sets(operator, 32, torch.complex128), Model("multicoil", "periodic", terms=terms)
            ).factors,
            operator,
            torch.complex128,
        )
        for terms in (1, 2)
    ]
    assert 0.02 < errors[0] < 0.3
    assert errors[1] < 0.3 * errors[0]
