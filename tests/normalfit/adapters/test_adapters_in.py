"""Operators of the real libraries become LinearOperators: same results, exact adjoints, a fit."""

import math

import numpy as np
import pytest
import scipy.sparse
import torch

from normalfit.adapters.any_operator import as_operator
from normalfit.adapters.forward_only import from_forward
from normalfit.adapters.matrix import from_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator

SHAPE = (5, 6)
SAMPLES = math.prod(SHAPE)
DOUBLE = torch.eye(2, dtype=torch.float64)


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def assert_adjoint(operator, rtol=1e-5):
    dtype = torch.complex64 if operator.is_complex else torch.float32
    x = random(2, *operator.domain.shape, dtype=dtype)
    ax = operator.forward(x)
    y = random(*ax.shape, dtype=ax.dtype, seed=1)
    left, right = torch.vdot(y.flatten(), ax.flatten()), None
    right = torch.vdot(operator.adjoint(y).flatten().to(left.dtype), x.flatten().to(left.dtype))
    both = left.real, right.real  # of real volumes with complex measurements only this agrees
    scale = float(ax.norm() * y.norm())
    assert abs(float(both[0] - both[1])) < rtol * scale
    if operator.is_complex:
        assert abs(complex(left - right)) < rtol * scale
    assert operator.adjoint(y).dtype == x.dtype


@pytest.mark.parametrize("kind", ["numpy", "sparse", "torch", "scipy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_matrices(kind, dtype):
    matrix = random(11, SAMPLES, dtype=dtype)
    made = {
        "numpy": matrix.numpy(),
        "sparse": scipy.sparse.csr_array(matrix.numpy()),
        "torch": matrix,
        "scipy": scipy.sparse.linalg.aslinearoperator(matrix.numpy()),
    }[kind]
    operator = as_operator(made, SHAPE)
    assert (operator.domain.shape, operator.range.shape) == (SHAPE, (11,))
    assert operator.is_complex == dtype.is_complex
    x = random(*SHAPE, dtype=dtype)
    torch.testing.assert_close(operator.forward(x), matrix @ x.flatten())
    assert_adjoint(operator)


def test_a_double_matrix_keeps_the_precision_of_what_it_is_given():
    operator = from_matrix(np.eye(SAMPLES), SHAPE)
    assert operator.forward(random(*SHAPE)).dtype == torch.float32
    assert operator.forward(random(*SHAPE, dtype=torch.float64)).dtype == torch.float64


def test_a_grid_of_a_matrix_keeps_its_voxels():
    grid = Grid(SHAPE, (0.5, 2.0))
    assert as_operator(np.eye(SAMPLES), grid).domain == grid
    assert from_matrix(np.eye(SAMPLES), range_shape=grid).range == grid


def test_pylops():
    pylops = pytest.importorskip("pylops")
    gradient = pylops.Gradient(SHAPE, dtype="float32")
    operator = as_operator(gradient)
    assert (operator.domain.shape, operator.range.shape) == (SHAPE, (2, *SHAPE))
    x = random(*SHAPE)
    expected = torch.from_numpy(gradient @ x.numpy())
    torch.testing.assert_close(operator.forward(x), expected.reshape(2, *SHAPE))
    assert_adjoint(operator)


@pytest.mark.parametrize("composed", [False, True])
def test_pylops_of_real_volumes_with_complex_measurements(composed):
    pylops = pytest.importorskip("pylops")
    transform = pylops.signalprocessing.FFT2D(SHAPE, real=True, dtype="float64")
    if composed:
        weights = random(*transform.dimsd, dtype=torch.complex128).numpy()
        transform = pylops.Diagonal(weights) * transform
    operator = as_operator(transform, SHAPE)
    assert not operator.is_complex
    x = random(*SHAPE)
    expected = torch.from_numpy(transform @ x.numpy().ravel())
    torch.testing.assert_close(operator.forward(x).flatten(), expected.to(torch.complex64))
    assert_adjoint(operator)
    found = fit(operator, boundary="periodic", terms=1, probes=16, held_out=4, evaluation=4)
    assert not found.factors.is_complex
    with pytest.raises(InputError, match=r"x must be real, as the volumes .* got complex64"):
        operator.forward(x.to(torch.complex64))


def test_pylops_whose_volumes_are_said_to_be_real():
    pylops = pytest.importorskip("pylops")
    transform = pylops.signalprocessing.FFT2D(SHAPE, real=True, dtype="float64")
    stack = pylops.VStack([transform, 2 * transform])
    with pytest.raises(InputError, match=r"clinear False; .* say is_complex=False"):
        as_operator(stack, SHAPE)
    operator = as_operator(stack, SHAPE, is_complex=False)
    assert not operator.is_complex
    x = random(*SHAPE, dtype=torch.float64)
    torch.testing.assert_close(operator.normal(x), 5 * as_operator(transform, SHAPE).normal(x))
    assert_adjoint(operator)


@pytest.mark.parametrize("kind", ["Real", "Imag", "Conj"])
def test_pylops_that_is_linear_over_the_real_numbers_alone_is_refused(kind):
    pylops = pytest.importorskip("pylops")
    with pytest.raises(InputError, match=f"linear over the complex numbers.* got {kind}"):
        as_operator(getattr(pylops, kind)(SHAPE, dtype="complex64"))


def test_astra_optomo():
    astra = pytest.importorskip("astra")
    volume = astra.create_vol_geom(*SHAPE)
    angles = np.linspace(0, np.pi, 7, endpoint=False)
    projector = astra.create_projector(
        "linear", astra.create_proj_geom("parallel", 1.0, 9, angles), volume
    )
    tomo = astra.OpTomo(projector)
    operator = as_operator(tomo)
    assert (operator.domain.shape, operator.range.shape) == (SHAPE, (7, 9))
    x = random(*SHAPE)
    torch.testing.assert_close(
        operator.forward(x), torch.from_numpy(tomo.FP(x.numpy())), rtol=1e-5, atol=1e-5
    )
    assert_adjoint(operator)
    assert fit(operator, terms=1, probes=24, held_out=4, evaluation=4).report.grid_error.value < 0.3
    z = random(*SHAPE, dtype=torch.complex64)  # of which OpTomo alone drops the imaginary part
    y = operator.forward(z)
    torch.testing.assert_close(y.imag, operator.forward(z.imag.contiguous()))
    x = operator.adjoint(y)
    torch.testing.assert_close(x.real, operator.adjoint(y.real.contiguous()))
    torch.testing.assert_close(x.imag, operator.adjoint(y.imag.contiguous()))


def test_deepinv_blur_and_mri():
    from deepinv.physics import MRI, Blur

    kernel = torch.ones(1, 1, 3, 3) / 9
    blur = Blur(filter=kernel, padding="circular")
    operator = as_operator(blur, (1, 12, 10))
    x = random(12, 10)
    torch.testing.assert_close(operator.forward(x), blur.A(x[None, None])[0])
    assert_adjoint(operator)
    mask = (random(12, 10) > 0).float()
    mri = MRI(mask=mask, img_size=(2, 12, 10))
    operator = as_operator(mri, (2, 12, 10))
    assert operator.is_complex
    x = random(12, 10, dtype=torch.complex64)
    expected = mri.A(torch.stack([x.real, x.imag])[None])[0]
    torch.testing.assert_close(operator.forward(x), torch.complex(expected[0], expected[1]))
    assert_adjoint(operator)
    found = fit(operator, boundary="periodic", terms=1, probes=16, held_out=4, evaluation=4)
    assert found.report.grid_error.value < 0.05  # single-coil Cartesian MRI is a circulant
    assert found.factors.is_complex


def test_deepinv_physics_that_cannot_be_mapped():
    from deepinv.physics import Inpainting

    physics = Inpainting(img_size=(3, 8, 8), mask=0.5)
    with pytest.raises(InputError, match="one channel, or two"):
        as_operator(physics, (3, 8, 8))
    with pytest.raises(InputError, match="shape must be a Grid, or one whole number per axis"):
        as_operator(physics, 8)
    one = Inpainting(img_size=(1, 8, 8), mask=0.5)
    with pytest.raises(InputError, match=r"Inpainting's images, got .*; given is \(1, 9, 8\)"):
        as_operator(one, (1, 9, 8))


@pytest.mark.filterwarnings("ignore:Samples will be rescaled")
def test_mri_nufft():
    mrinufft = pytest.importorskip("mrinufft")
    from mrinufft import get_operator, initialize_2D_radial

    samples = initialize_2D_radial(Nc=9, Ns=16).astype("float32").reshape(-1, 2)
    maps = random(3, 12, 12, dtype=torch.complex64).numpy()
    transform = get_operator("finufft")(samples, (12, 12), n_coils=3, smaps=maps)
    operator = as_operator(transform)
    assert (operator.domain.shape, operator.range.shape) == ((12, 12), (3, 9 * 16))
    x = random(12, 12, dtype=torch.complex64)
    expected = torch.from_numpy(transform.op(x.numpy()))
    torch.testing.assert_close(operator.forward(x), expected.reshape(3, -1))
    assert_adjoint(operator, rtol=1e-4)
    without = get_operator("finufft")(samples, (12, 12), n_coils=3)
    with pytest.raises(InputError, match="maps of its coils"):
        as_operator(without)
    assert mrinufft is not None


@pytest.mark.parametrize("is_complex", [False, True])
def test_forward_alone(is_complex):
    dtype = torch.complex64 if is_complex else torch.float32
    matrix = random(7, SAMPLES, dtype=dtype)
    operator = as_operator(lambda x: matrix @ x.flatten(), SHAPE, is_complex=is_complex)
    y = random(7, dtype=dtype, seed=2)
    torch.testing.assert_close(operator.adjoint(y).flatten(), matrix.mH @ y, rtol=1e-4, atol=1e-4)
    assert_adjoint(operator)
    with torch.no_grad():  # as in a fit
        assert_adjoint(operator)
    with torch.inference_mode():
        assert_adjoint(operator)


def test_forward_alone_of_a_real_volume_with_complex_measurements():
    operator = from_forward(torch.fft.fft2, SHAPE)
    y = random(*SHAPE, dtype=torch.complex64)
    expected = torch.fft.ifft2(y, norm="forward").real
    torch.testing.assert_close(operator.adjoint(y), expected)


def test_our_own_operators_are_returned_as_they_are():
    operator = FunctionOperator(Grid(SHAPE), Grid(SHAPE), lambda x: x, lambda y: y)
    assert as_operator(operator) is operator


@pytest.mark.parametrize(
    ("thing", "shape", "said"),
    [
        (3, None, "operator must be a matrix, a function, or an operator of"),
        (np.eye(4), (3,), r"shape must have the 4 samples of the matrix, got \(3,\)"),
        (lambda x: x + 1, (3,), "forward must be linear"),
        (lambda x: x.numpy(), (3,), "forward must be linear and return a tensor, got ndarray"),
        (lambda x: x, None, "shape must be that of the volumes for a function"),
        (lambda x: x, 30, r"shape must be a Grid, or one whole number per axis .*got 30"),
        (lambda x: x, (3.5,), r"shape must be a Grid, .*got \(3.5,\)"),
        (lambda x: DOUBLE @ x, (2,), r"forward must take torch.float32 .* got RuntimeError"),
        (np.eye(30), 30, r"shape must be a Grid, or one whole number per axis .*got 30"),
        (torch.eye(4).to_sparse(), (4,), "matrix must be dense .* got a tensor of torch.sparse"),
        (torch.eye(4).bfloat16(), (4,), "matrix must be dense .* got .* torch.bfloat16"),
    ],
)
def test_what_is_refused(thing, shape, said):
    with pytest.raises(InputError, match=said):
        as_operator(thing, shape)


def test_a_forward_without_gradient_is_refused():
    operator = from_forward(lambda x: x.detach(), (3,))
    with pytest.raises(InputError, match="differentiable"):
        operator.adjoint(torch.ones(3))


@pytest.mark.parametrize("kind", ["Inpainting", "MRI"])
def test_deepinv_physics_that_treats_two_channels_apart_is_refused(kind):
    import deepinv.physics

    mask = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0)).round()
    physics = getattr(deepinv.physics, kind)(mask=mask[None], img_size=(2, 6, 5))
    with pytest.raises(InputError, match=f"linear over the complex numbers in two .* got {kind}"):
        as_operator(physics, (2, 6, 5))


def test_factors_are_a_function():
    kernel = LagKernel(random(1, 7, 9), SHAPE[:2], ("linear",) * 2)
    factors = Factors(kernel)
    operator = as_operator(factors, SHAPE)
    x = random(*SHAPE)
    torch.testing.assert_close(operator.forward(x), factors(x))
    assert_adjoint(operator)
