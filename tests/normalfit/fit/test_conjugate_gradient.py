"""Conjugate gradients against a direct solver."""

import itertools

import pytest
import torch

from normalfit.conjugate_gradient import conjugate_gradient
from normalfit.errors import InputError

SHAPE = (3, 4)


def system(dtype=torch.float64, condition=1e3):
    """A self-adjoint matrix of a known condition, and a right-hand side of `SHAPE`."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(12, 12, dtype=dtype, generator=generator)
    Q = torch.linalg.qr(factor).Q
    eigenvalues = torch.logspace(0, torch.log10(torch.tensor(condition)), 12).to(dtype)
    b = torch.randn(SHAPE, dtype=dtype, generator=generator)
    return (Q * eigenvalues) @ Q.mH, b


def apply(matrix):
    return lambda x: (matrix @ x.flatten()).reshape(SHAPE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_as_many_iterations_as_unknowns_solve_the_system(dtype):
    N, b = system(dtype, condition=10)
    result = conjugate_gradient(apply(N), b, iterations=12, tolerance=1e-11)
    expected = torch.linalg.solve(N, b.flatten()).reshape(SHAPE)
    torch.testing.assert_close(result.x, expected, rtol=1e-9, atol=1e-9)
    assert result.stop_reason == "tolerance reached"
    assert result.iterations <= 12


def test_residual_norms_are_those_of_the_iterates():
    N, b = system()
    for iterations in range(5):
        result = conjugate_gradient(apply(N), b, iterations=iterations, tolerance=0.0)
        assert result.iterations == iterations
        assert len(result.residual_norms) == iterations + 1
        true_norm = float(torch.linalg.norm(b - apply(N)(result.x)))
        assert result.residual_norms[-1] == pytest.approx(true_norm, rel=1e-9)
    assert result.stop_reason == "iteration limit"


def test_the_error_in_the_energy_norm_falls():
    N, b = system()
    exact = torch.linalg.solve(N, b.flatten())
    energies = []
    for iterations in range(8):
        x = conjugate_gradient(apply(N), b, iterations=iterations, tolerance=0.0).x.flatten()
        energies.append(float((x - exact) @ N @ (x - exact)))
    assert all(after < before for before, after in itertools.pairwise(energies))


def test_the_exact_inverse_as_preconditioner_needs_one_iteration():
    N, b = system()
    precondition = apply(torch.linalg.inv(N))
    result = conjugate_gradient(
        apply(N), b, iterations=10, tolerance=1e-8, precondition=precondition
    )
    assert result.iterations == 1


def test_a_start_at_the_solution_stops_at_once():
    N, b = system()
    x = torch.linalg.solve(N, b.flatten()).reshape(SHAPE)
    result = conjugate_gradient(apply(N), b, x0=x, iterations=10, tolerance=1e-8)
    assert result.iterations == 0
    assert torch.equal(result.x, x)


def test_the_start_is_left_alone():
    N, b = system()
    x0 = torch.ones(SHAPE, dtype=torch.float64)
    conjugate_gradient(apply(N), b, x0=x0, iterations=3, tolerance=0.0)
    assert torch.equal(x0, torch.ones_like(x0))


def test_a_right_side_of_zero_has_the_solution_zero():
    N, b = system()
    result = conjugate_gradient(apply(N), torch.zeros_like(b), iterations=3, tolerance=0.0)
    assert result.stop_reason == "tolerance reached"
    assert not result.x.any()


def test_an_indefinite_map_is_named():
    _, b = system()
    result = conjugate_gradient(lambda x: -x, b, iterations=5, tolerance=1e-3)
    assert result.stop_reason == "no positive curvature"
    assert torch.isfinite(result.x).all()


@pytest.mark.parametrize(
    "bad", [{"iterations": -1}, {"tolerance": -1.0}, {"tolerance": float("nan")}]
)
def test_limits_out_of_range_are_refused(bad):
    N, b = system()
    with pytest.raises(InputError, match="zero or more"):
        conjugate_gradient(apply(N), b, **{"iterations": 1, "tolerance": 0.1, **bad})


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("of", ["b", "x0"])
def test_a_right_hand_side_or_a_start_that_is_not_finite_is_named(of, wrong):
    N, b = system()
    given = {"b": b, "x0": torch.zeros_like(b)}
    given[of] = given[of].index_fill(0, torch.tensor([1]), wrong)
    with pytest.raises(InputError, match=r"b - N x0 must be finite, got a norm of"):
        conjugate_gradient(apply(N), iterations=3, tolerance=0.0, **given)


@pytest.mark.parametrize("size", [1e-40, 1e-24, 1e20, 1e37])
@pytest.mark.parametrize("started", [False, True])
def test_a_right_hand_side_of_any_size_is_solved_in_single_precision(size, started):
    N, b = system(condition=10)
    N, b = N.float(), b.float()
    x0 = 0.5 * size * b if started else None
    result = conjugate_gradient(apply(N), b * size, x0=x0, iterations=50, tolerance=1e-4)
    expected = torch.linalg.solve(N.double(), b.double().flatten()).reshape(SHAPE)
    assert result.stop_reason == "tolerance reached"
    assert result.iterations > 0
    # denormal numbers, the smallest, have few digits
    torch.testing.assert_close(result.x.double() / size, expected, rtol=1e-3, atol=1e-3)
    true_norm = float(torch.linalg.norm(b.double()))
    if not started:
        assert result.residual_norms[0] == pytest.approx(true_norm * size, rel=1e-3)


def test_a_map_of_another_dtype_is_named():
    N, b = system(torch.complex128)
    with pytest.raises(
        InputError, match=r"have the dtype of b, torch\.float64, got torch\.complex128"
    ):
        conjugate_gradient(lambda x: apply(N)(x.to(N)), b.real, iterations=2, tolerance=0.1)
