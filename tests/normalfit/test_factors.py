"""Factors and their restriction against dense matrices."""

import itertools

import pytest
import torch

from normalfit.dense import dense_matrix
from normalfit.errors import InputError
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.restriction import restrict, restrict_batch

SHAPE = (4, 5, 6)


BOUNDARIES = list(itertools.product(["linear", "periodic"], repeat=3))


CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


def make_factors(
    shape=SHAPE, boundary=("linear",) * 3, *, terms=2, lags=None, dtype=torch.float64, v=True
):
    generator = torch.Generator().manual_seed(3)
    full = [n if end == "periodic" else 2 * n - 1 for n, end in zip(shape, boundary, strict=True)]
    kernel = torch.randn(terms, *(lags or full), dtype=dtype, generator=generator)
    u = torch.randn(terms, *shape, dtype=dtype, generator=generator)
    free = torch.randn(terms, *shape, dtype=dtype, generator=generator)
    return Factors(LagKernel(kernel, shape, boundary), u, free if v else None)


def explicit_matrix(factors):
    """Σ_k diag(u_k) H_k diag(v_k); that H_k is the convolution, test_lag_grid shows."""
    size = torch.Size(factors.shape).numel()
    total = torch.zeros(size, size, dtype=factors.dtype)
    for k in range(factors.terms):
        kernel = LagKernel(factors.kernel.values[k : k + 1], factors.shape, factors.boundary)
        H = dense_matrix(Factors(kernel), factors.shape, factors.dtype)
        u = torch.ones(size) if factors.u is None else factors.u[k].flatten()
        v = torch.ones(size) if factors.v is None else factors.v[k].flatten()
        total += u[:, None] * H * v[None, :]
    return total


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("with_v", [True, False])
def test_application_equals_the_sum_of_diagonals_and_convolutions(boundary, dtype, with_v):
    factors = make_factors(boundary=boundary, dtype=dtype, v=with_v)
    dense = dense_matrix(factors, SHAPE, dtype)
    torch.testing.assert_close(dense, explicit_matrix(factors), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_adjoint_is_the_conjugate_transpose(boundary, dtype):
    factors = make_factors(boundary=boundary, dtype=dtype)
    adjoint = dense_matrix(factors.adjoint, SHAPE, dtype)
    expected = dense_matrix(factors, SHAPE, dtype).conj().T
    torch.testing.assert_close(adjoint, expected, rtol=1e-12, atol=1e-11)


def test_absent_diagonals_are_all_ones():
    kernel = make_factors().kernel
    ones = torch.ones(1, *SHAPE, dtype=torch.float64)
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(Factors(kernel)(x), Factors(kernel, ones, ones)(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_gradient_through_factors_equals_the_adjoint(dtype, device):
    factors = make_factors(dtype=dtype).to(device)
    x = torch.randn(2, *SHAPE, dtype=dtype, device=device, requires_grad=True)
    y = torch.randn(2, *SHAPE, dtype=dtype, device=device)
    (gradient,) = torch.autograd.grad(factors(x), x, grad_outputs=y)
    torch.testing.assert_close(gradient, factors.adjoint(y))
    assert torch.autograd.gradcheck(factors, (x[0].detach().requires_grad_(),))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_gpu_equals_cpu(boundary):
    factors = make_factors(boundary=boundary, dtype=torch.float32)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(factors.to("cuda")(x.cuda()).cpu(), factors(x), rtol=1e-4, atol=1e-4)


def test_half_precision_is_computed_in_single():
    factors = make_factors(dtype=torch.float32)
    x = torch.randn(SHAPE).to(torch.bfloat16)
    result = factors(x)
    assert result.dtype is torch.bfloat16
    torch.testing.assert_close(result, factors(x.float()).to(torch.bfloat16))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_half_precision_keeps_the_imaginary_part_that_complex_factors_make(half, dtype):
    factors = make_factors(dtype=dtype)
    x = torch.randn(SHAPE).to(half)
    result = factors(x)
    assert result.dtype is torch.complex64
    assert float(result.imag.abs().max()) > 0
    torch.testing.assert_close(result, factors(x.float()).to(torch.complex64))


def patches_of(shape):
    """Corner, centre and last patches of odd, even, single and whole lengths per axis."""
    return [
        Patch((0, 0, 0), (2, 3, 4)),
        Patch((1, 1, 1), (3, 3, 3)),
        Patch((2, 1, 3), (2, 4, 3)),
        Patch((3, 4, 5), (1, 1, 1)),
        Patch((0, 1, 0), (4, 4, 6)),
        Patch((0, 0, 1), (4, 5, 5)),
        Patch.whole(shape),
    ]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("lags", [None, (3, 3, 5), (3, 5, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_restriction_equals_the_dense_submatrix(boundary, lags, dtype):
    factors = make_factors(boundary=boundary, lags=lags, dtype=dtype)
    dense = dense_matrix(factors, SHAPE, dtype).reshape(*SHAPE, *SHAPE)
    for patch in patches_of(SHAPE):
        size = torch.Size(patch.shape).numel()
        expected = dense[(*patch.slices, *patch.slices)].reshape(size, size)
        restricted = restrict(factors, patch)
        result = dense_matrix(restricted, patch.shape, dtype)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-10)
        adjoint = dense_matrix(restricted.adjoint, patch.shape, dtype)
        torch.testing.assert_close(adjoint, expected.conj().T, rtol=0, atol=1e-10)


def test_a_limited_periodic_kernel_needs_few_points():
    factors = make_factors((40,), ("periodic",), lags=(5,), terms=1)
    restricted = restrict(factors, Patch((3,), (10,)))
    assert restricted.lags == (5,)
    assert restricted.kernel.grid.fft_shape == (12,)


def test_restriction_twice_equals_restriction_once():
    factors = make_factors()
    inner = restrict(restrict(factors, Patch((0, 1, 1), (3, 4, 5))), Patch((1, 1, 0), (2, 2, 3)))
    direct = restrict(factors, Patch((1, 2, 1), (2, 2, 3)))
    x = torch.randn(2, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(inner(x), direct(x))


def test_a_batch_of_patches_equals_the_patches_one_by_one():
    factors = make_factors()
    patches = [
        Patch((0, 0, 0), (2, 3, 4)),
        Patch((2, 2, 2), (2, 3, 4)),
        Patch((1, 0, 1), (2, 3, 4)),
    ]
    x = torch.randn(3, 2, 3, 4, dtype=torch.float64)
    together = restrict_batch(factors, patches)(x)
    for i, patch in enumerate(patches):
        torch.testing.assert_close(together[i], restrict(factors, patch)(x[i]))


def test_the_restricted_spectrum_is_computed_once_per_shape():
    factors = make_factors()
    first = restrict(factors, Patch((0, 0, 0), (2, 2, 2)))
    second = restrict(factors, Patch((1, 1, 1), (2, 2, 2)))
    assert first.kernel is second.kernel


def test_wrong_shapes_are_refused():
    factors = make_factors()
    with pytest.raises(InputError, match=r"x must have the trailing shape .*got \(4, 5, 7\)"):
        factors(torch.zeros(4, 5, 7, dtype=torch.float64))
    with pytest.raises(InputError, match="inside the grid"):
        restrict(factors, Patch((3, 0, 0), (2, 2, 2)))
    with pytest.raises(InputError, match=r"kernel must have 1 or 3 terms .* got 2"):
        Factors(factors.kernel, torch.zeros(3, *SHAPE))
    with pytest.raises(InputError, match=r"v must have the trailing shape \(3, 4, 5, 6\)"):
        Factors(factors.kernel, torch.zeros(3, *SHAPE), torch.zeros(2, *SHAPE))
    with pytest.raises(InputError, match="one shape"):
        restrict_batch(factors, [Patch((0, 0, 0), (2, 2, 2)), Patch((0, 0, 0), (2, 2, 3))])


@pytest.mark.parametrize("missing", range(1, 4))
def test_missing_axes_are_refused(missing):
    factors = make_factors()
    with pytest.raises(InputError, match=r"kernel must have the trailing axes \(terms, \*lags\)"):
        LagKernel(factors.kernel.values[(0,) * missing], SHAPE, ("linear",) * 3)
    for name in ("u", "v"):
        with pytest.raises(InputError, match=f"{name} must have the trailing shape"):
            Factors(factors.kernel, **{name: factors.u[(0,) * missing]})
    with pytest.raises(InputError, match="x must have the trailing shape"):
        factors(torch.zeros(SHAPE[missing:], dtype=torch.float64))


def coil_factors(boundary=("linear",) * 3, dtype=torch.complex128, coils=3):
    """One Hermitian kernel between conjugate diagonals, one pair per coil."""
    free = make_factors(boundary=boundary, terms=coils, dtype=dtype)
    kernel = LagKernel(free.kernel.values[:1], SHAPE, boundary)
    h = (kernel.values + kernel.adjoint.values) / 2
    v = free.v
    return Factors(LagKernel(h, SHAPE, boundary), v.conj().resolve_conj(), v)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_coils_that_share_a_kernel_are_a_sum_of_as_many_terms(boundary):
    factors = coil_factors(boundary)
    assert (factors.terms, factors.kernel.terms) == (3, 1)
    every = factors.kernel.values.expand(3, *factors.lags)
    copied = Factors(LagKernel(every, SHAPE, boundary), factors.u, factors.v)
    dense = dense_matrix(factors, SHAPE, torch.complex128)
    torch.testing.assert_close(dense, explicit_matrix(copied), rtol=1e-12, atol=1e-11)
    adjoint = dense_matrix(factors.adjoint, SHAPE, torch.complex128)
    torch.testing.assert_close(adjoint, dense.mH, rtol=1e-12, atol=1e-11)
    assert factors.is_self_adjoint
    torch.testing.assert_close(dense, dense.mH, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_coils_are_restricted_exactly(boundary):
    factors = coil_factors(boundary)
    dense = dense_matrix(factors, SHAPE, torch.complex128).reshape(*SHAPE, *SHAPE)
    for patch in patches_of(SHAPE):
        size = torch.Size(patch.shape).numel()
        expected = dense[(*patch.slices, *patch.slices)].reshape(size, size)
        restricted = restrict(factors, patch)
        assert restricted.kernel.terms == 1
        result = dense_matrix(restricted, patch.shape, torch.complex128)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-10)


def test_a_patch_drops_the_coils_that_do_not_see_it():
    factors = coil_factors()
    factors.u[1, :2] = factors.v[1, :2] = 0
    patch = Patch((0, 0, 0), (2, 3, 4))
    restricted = restrict(factors, patch)
    assert (restricted.terms, restricted.kernel.terms) == (2, 1)
    dense = dense_matrix(factors, SHAPE, torch.complex128).reshape(*SHAPE, *SHAPE)
    expected = dense[(*patch.slices, *patch.slices)].reshape(24, 24)
    result = dense_matrix(restricted, patch.shape, torch.complex128)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("with_v", [True, False])
def test_symmetrized_is_half_of_the_sum_with_the_adjoint(boundary, dtype, with_v):
    factors = make_factors(boundary=boundary, dtype=dtype, v=with_v)
    B = dense_matrix(factors, SHAPE, dtype)
    symmetric = factors.symmetrized()
    result = dense_matrix(symmetric, SHAPE, dtype)
    torch.testing.assert_close(result, (B + B.mH) / 2, rtol=1e-12, atol=1e-11)
    assert not factors.is_self_adjoint
    assert symmetric.terms == 2 * factors.terms


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_symmetrized_is_not_farther_from_a_self_adjoint_operator(dtype):
    A = torch.randn(120, 120, dtype=dtype, generator=torch.Generator().manual_seed(1))
    N = A.mH @ A
    factors = make_factors(dtype=dtype)
    before, after = (
        float(torch.linalg.norm(dense_matrix(f, SHAPE, dtype) - N))
        for f in (factors, factors.symmetrized())
    )
    assert after < before


@pytest.mark.parametrize("batched", [("u",), ("v",), ("kernel",), ("u", "kernel")])
@pytest.mark.parametrize("with_v", [True, False])
def test_symmetrized_broadcasts_batch_axes(batched, with_v):
    factors = make_factors(v=with_v)
    arrays = {"kernel": factors.kernel.values, "u": factors.u, "v": factors.v}
    for name in batched:
        if arrays[name] is not None:
            arrays[name] = torch.stack([arrays[name], 2 * arrays[name], -arrays[name]])
    kernel = LagKernel(arrays.pop("kernel"), factors.shape, factors.boundary)
    several = Factors(kernel, **arrays)
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    expected = (several(x) + several.adjoint(x)) / 2
    torch.testing.assert_close(several.symmetrized()(x), expected)


def test_what_is_self_adjoint_is_symmetrized_already():
    coils = coil_factors()
    assert coils.symmetrized() is coils
    plain = Factors(coils.kernel)
    assert plain.symmetrized() is plain
