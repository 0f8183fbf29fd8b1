"""FDK, zero-filled, CG and TV against truths that are computed in another way."""

import functools
from typing import Any

import numpy as np
import pytest
import torch

from normalfit.grid import Grid
from normalfit.operators.multicoil_mri import MulticoilMRI
from normalfit.specs import spec_from_document
from partunroll.baselines.method import parse_method
from partunroll.baselines.problem import Problem
from partunroll.errors import InputError

BALL: dict[
    str, Any
] = {  # a ball of radius 6 mm around the centre, and a detector that sees all of it
    "kind": "cone_beam",
    "volume_shape": [24, 24, 24],
    "voxel_mm": [1.0, 1.0, 1.0],
    "num_views": 72,
    "source_origin_mm": 200.0,
    "origin_detector_mm": 100.0,
    "detector_shape": [48, 48],
    "pixel_mm": [1.0, 1.0],
}


def test_fdk_of_the_analytic_projections_of_a_ball_is_the_ball():
    """The chord of every ray through the ball, no projector: 2 √(R² − d²)."""
    operator = spec_from_document(BALL, {}).build()
    radius, density = 6.0, 0.7
    source, detector = BALL["source_origin_mm"], BALL["origin_detector_mm"]
    at = np.arange(48) - 23.5
    v, u = np.meshgrid(at, at, indexing="ij")
    along = source + detector  # rays from the source to (along, u, v)
    squared = u**2 + v**2
    distance = source * np.sqrt(squared / (along**2 + squared))
    chord = 2 * np.sqrt(np.maximum(0, radius**2 - distance**2))
    shape = operator.range.shape
    axis = shape.index(72)
    y = np.broadcast_to(np.expand_dims(density * chord, axis), shape)
    measured = torch.from_numpy(y.astype(np.float32))
    problem = Problem(operator, measured, 1.0, torch.zeros(operator.domain.shape))
    x = parse_method({"kind": "fdk", "window": "ramp"}).reconstruct(problem)
    at = np.arange(24) - 11.5
    r = np.sqrt(sum(a**2 for a in np.meshgrid(at, at, at)))
    assert float(x[r < radius - 1.5].mean()) == pytest.approx(density, rel=0.05)
    assert np.abs(x.numpy()[r < radius - 1.5] / density - 1).max() < 0.15
    assert abs(float(x[(r > radius + 1.5) & (r < 10)].mean())) < 0.05 * density


def test_fdk_is_refused_without_a_scanner(real):
    with pytest.raises(InputError, match="least-squares"):
        parse_method({"kind": "fdk"}).reconstruct(real.problem)


def test_zero_filled_is_the_root_sum_of_squares_of_numpys_transforms():
    rng = np.random.default_rng(0)
    shape = (8, 10)
    maps = rng.standard_normal((3, *shape)) + 1j * rng.standard_normal((3, *shape))
    mask = rng.random(shape) < 0.5
    kspace = rng.standard_normal((3, *shape)) + 1j * rng.standard_normal((3, *shape))
    operator = MulticoilMRI(
        Grid(shape), torch.from_numpy(maps).to(torch.complex64), torch.from_numpy(mask).float()
    )
    y = torch.from_numpy(kspace * mask).to(torch.complex64)
    problem = Problem(operator, y, 1.0, torch.zeros(shape, dtype=torch.complex64))
    found = parse_method({"kind": "zero-filled"}).reconstruct(problem)
    shifted = np.fft.ifftshift(kspace * mask, axes=(1, 2))
    images = np.fft.fftshift(np.fft.ifftn(shifted, axes=(1, 2), norm="ortho"), axes=(1, 2))
    expected = np.sqrt((np.abs(images) ** 2).sum(0))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_zero_filled_is_refused_without_coils(real):
    with pytest.raises(InputError, match="zero-filled must be used with MRI"):
        parse_method({"kind": "zero-filled"}).reconstruct(real.problem)


@pytest.mark.parametrize("name", ["real", "complex_"])
def test_cg_solves_the_ridged_normal_equations(name, request):
    dense = request.getfixturevalue(name)
    method = parse_method({"kind": "cg", "ridge": 0.02, "iterations": 200})
    x = method.reconstruct(dense.problem)
    expected = np.linalg.solve(dense.normal + 0.02 * np.eye(120), dense.backprojection)
    dense.assert_is(x, expected)


def gradient(shape):
    """The matrix of forward differences, zero at the last voxel: axes behind each other."""
    rows = []
    for axis, n in enumerate(shape):
        step = np.diag(np.full(n - 1, 1.0), 1) - np.eye(n)
        step[-1] = 0
        parts = [step if a == axis else np.eye(m) for a, m in enumerate(shape)]
        rows.append(functools.reduce(np.kron, parts))
    return np.stack(rows)  # (axes, voxels, voxels)


def primal_dual(normal, b, D, weight, iterations=2000):
    """Condat's and Vũ's algorithm for ``½ xᵀNx − bᵀx + λ Σ |∇x|``, norm of N 1, in numpy."""
    stacked = D.reshape(-1, D.shape[-1])
    sigma = 0.1
    tau = 0.99 / (0.5 + sigma * np.linalg.norm(stacked, 2) ** 2)
    x, dual = np.zeros_like(b), np.zeros(len(stacked))
    for _ in range(iterations):
        previous = x
        x = x - tau * (normal @ x - b + dual @ stacked)
        dual = dual + sigma * (stacked @ (2 * x - previous))
        lengths = np.sqrt((dual.reshape(D.shape[:2]) ** 2).sum(0))
        dual /= np.tile(np.maximum(1, lengths / weight), len(D))
    return x


def objective(normal, b, D, weight, x):
    return 0.5 * x @ normal @ x - b @ x + weight * np.sqrt(((D @ x) ** 2).sum(0)).sum()


def test_tv_is_what_a_long_primal_dual_run_finds(real):
    """To 1e-3 of the solution and 1e-5 of the decrease of the objective."""
    weight, D = 0.02, gradient((6, 5, 4))
    given = real.normal, real.backprojection, D, weight
    expected = primal_dual(*given)
    method = parse_method({"kind": "tv", "weight": weight, "iterations": 60})
    x = method.reconstruct(real.problem)
    real.assert_is(x, expected, 1e-3)
    best, reached = (objective(*given, v) for v in (expected, x.numpy().astype(float).ravel()))
    assert best < 0
    assert reached - best < 1e-5 * abs(best)
    # and it is no least squares: the variation has been brought down
    assert (
        np.sqrt(((D @ expected) ** 2).sum(0)).sum()
        < 0.9 * np.sqrt(((D @ np.linalg.pinv(real.normal) @ real.backprojection) ** 2).sum(0)).sum()
    )


def test_tv_of_complex_volumes_varies_real_and_imaginary_part_on_their_own(complex_):
    weight, D = 0.02, gradient((6, 5, 4))
    N, b = complex_.normal, complex_.backprojection
    joint = np.block([[N.real, -N.imag], [N.imag, N.real]])
    both = np.zeros((3, 240, 240))
    both[:, :120, :120] = both[:, 120:, 120:] = D
    expected = primal_dual(joint, np.concatenate([b.real, b.imag]), both, weight)
    x = parse_method({"kind": "tv", "weight": weight, "iterations": 60})
    complex_.assert_is(x.reconstruct(complex_.problem), expected[:120] + 1j * expected[120:], 1e-3)
