"""The initial estimate takes what the geometry allows, and least squares for everything else."""

import numpy as np
import pytest
import torch

from normalfit.grid import Grid
from normalfit.linear_operator import FunctionOperator
from normalfit.specs import spec_from_document
from partunroll.errors import InputError
from partunroll.initial.fbp import fbp
from partunroll.initial.fdk import fdk
from partunroll.initial.initial_estimate import (
    estimate_method,
    initial_estimate,
    least_squares_estimate,
)


@pytest.fixture
def half_cone(cone_spec):
    """Return a cone beam over half a circle, which FDK refuses."""
    return spec_from_document({**cone_spec.document(), "angle_range_deg": 180.0}, {}).build()


def test_methods_follow_the_geometry(cone_spec, parallel_spec, inpainting_spec, half_cone):
    assert estimate_method(cone_spec.build()) == "fdk"
    assert estimate_method(parallel_spec.build()) == "fbp"
    assert estimate_method(inpainting_spec.build()) == "least-squares"
    assert estimate_method(half_cone) == "least-squares"
    assert estimate_method(cone_spec.build(), "least-squares") == "least-squares"


def test_a_method_that_cannot_work_is_refused(inpainting_spec, half_cone):
    with pytest.raises(InputError, match="got Inpainting; use least-squares"):
        estimate_method(inpainting_spec.build(), "fdk")
    with pytest.raises(InputError, match="use least squares"):
        estimate_method(half_cone, "fdk")
    with pytest.raises(InputError, match="method must be one of"):
        estimate_method(half_cone, "magic")


def test_filtered_estimates_are_those_of_fdk_and_fbp(cone_spec, parallel_spec):
    for spec, filtered in ((cone_spec, fdk), (parallel_spec, fbp)):
        operator = spec.build()
        y = operator.forward(torch.rand(operator.domain.shape))
        for window in ("hann", "ramp"):
            expected = filtered(operator, y, window)
            torch.testing.assert_close(initial_estimate(operator, y, window), expected)


def test_least_squares_solves_a_small_problem():
    matrix = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    operator = FunctionOperator(
        Grid((6,)), Grid((40,)), lambda x: matrix @ x, lambda y: matrix.T @ y
    )
    x = torch.arange(12, dtype=torch.float64).reshape(2, 6)
    torch.testing.assert_close(
        initial_estimate(operator, operator.forward(x)), x, atol=1e-5, rtol=0
    )


def test_least_squares_fits_better_than_fdk(cone_spec):
    operator = cone_spec.build()
    truth = torch.zeros(16, 16, 16)
    truth[5:11, 6:12, 4:10] = 1.0
    y = operator.forward(truth)
    misfits = [
        float((operator.forward(x) - y).norm() / y.norm())
        for x in (least_squares_estimate(operator, y), initial_estimate(operator, y))
    ]
    assert misfits[0] < 0.02 < misfits[1]


def test_estimates_are_linear_where_they_are_filtered(parallel_spec):
    operator = parallel_spec.build()
    y = torch.from_numpy(np.random.default_rng(0).random((2, *operator.range.shape)))
    summed = initial_estimate(operator, y[0] + 2 * y[1])
    parts = initial_estimate(operator, y)
    torch.testing.assert_close(summed, parts[0] + 2 * parts[1])
