"""Convolution over lags against the sums that define it."""

import itertools

import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.fft import fast_length, fft, ifft
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel

CASES = [
    ((7,), (13,), ("linear",)),
    ((7,), (5,), ("linear",)),
    ((6,), (6,), ("periodic",)),
    ((7,), (3,), ("periodic",)),
    ((5, 4), (9, 4), ("linear", "periodic")),
    ((3, 4, 5), (3, 3, 9), ("linear", "periodic", "linear")),
    ((4, 3, 2), (7, 3, 1), ("linear", "periodic", "linear")),
]


def direct_convolution(h, x, boundary):
    """Σ_m h[n - m] x[m], by the definition."""
    out = np.zeros(x.shape, dtype=np.result_type(h, x))
    for n in np.ndindex(*x.shape):
        for m in np.ndindex(*x.shape):
            out[n] += sum_over_lags(h, n, m, x.shape, boundary) * x[m]
    return out


def sum_over_lags(h, n, m, shape, boundary):
    """The kernel's value at the lag n - m; on a periodic axis at every lag congruent to it."""
    per_axis = []
    for a, b, size, length, end in zip(n, m, shape, h.shape, boundary, strict=True):
        lags = range(-(length // 2), length - length // 2)
        matching = [
            lag + length // 2
            for lag in lags
            if (lag == a - b if end == "linear" else (lag - (a - b)) % size == 0)
        ]
        per_axis.append(matching)
    return sum(h[index] for index in itertools.product(*per_axis))


@pytest.mark.parametrize(("shape", "lags", "boundary"), CASES)
@pytest.mark.parametrize("is_complex", [False, True])
def test_convolution_equals_its_definition(shape, lags, boundary, is_complex):
    rng = np.random.default_rng(0)
    h, x = rng.standard_normal(lags), rng.standard_normal(shape)
    if is_complex:
        h = h + 1j * rng.standard_normal(lags)
    grid = LagGrid(shape, lags, boundary)
    spectrum = grid.spectrum(torch.from_numpy(h), half=not is_complex)
    result = grid.convolve(torch.from_numpy(x), spectrum, half=not is_complex)
    np.testing.assert_allclose(result.numpy(), direct_convolution(h, x, boundary), atol=1e-12)


@pytest.mark.parametrize(("shape", "lags", "boundary"), CASES)
@pytest.mark.parametrize("points", [1, 2**19])  # a line or plane at a time, and all of them
def test_products_in_blocks_are_those_of_whole_spectra(shape, lags, boundary, points, monkeypatch):
    monkeypatch.setattr("normalfit.blocks._CPU_POINTS", points)
    draw = torch.Generator().manual_seed(0)
    grid = LagGrid(shape, lags, boundary)
    x, y = torch.randn(2, *shape, generator=draw, dtype=torch.float64)
    kernels = torch.randn(3, *lags, generator=draw, dtype=torch.float64)
    left, right = grid.transform(x, half=True), grid.spectrum(kernels, half=True)
    expected = grid.inverse(left * right, half=True)
    torch.testing.assert_close(grid.inverse_product(left, right, half=True), expected)
    product = right * grid.transform(y, half=True)
    total = torch.ones_like(right)
    grid.add_product(total, y[None], right, half=True)
    torch.testing.assert_close(total, 1 + product)
    shared = torch.ones_like(right[:1])
    grid.add_product(shared, y[None], right, half=True)
    torch.testing.assert_close(shared, 1 + product.sum(0, keepdim=True))


@pytest.mark.parametrize(("shape", "lags", "boundary"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_correlate_is_the_adjoint_of_kernel_to_convolution(shape, lags, boundary, dtype):
    torch.manual_seed(0)
    grid = LagGrid(shape, lags, boundary)
    h = torch.randn(lags, dtype=dtype)
    x, y = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    half = not dtype.is_complex
    convolved = grid.convolve(x, grid.spectrum(h, half=half), half=half)
    left = torch.sum(convolved.conj() * y)
    right = torch.sum(h.conj() * grid.correlate(x, y))
    assert torch.allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "lags", "boundary"), CASES)
def test_overlap_counts_equal_the_correlation_of_ones(shape, lags, boundary):
    grid = LagGrid(shape, lags, boundary)
    ones = torch.ones(shape, dtype=torch.float64)
    torch.testing.assert_close(grid.overlap_counts(), grid.correlate(ones, ones))


@pytest.mark.parametrize(("shape", "lags", "boundary"), CASES)
def test_adjoint_kernel_is_the_transposed_convolution(shape, lags, boundary):
    torch.manual_seed(1)
    kernel = LagKernel(torch.randn(1, *lags, dtype=torch.complex128), shape, boundary)
    x, y = torch.randn(2, 1, *shape, dtype=torch.complex128)
    forward = kernel.grid.convolve(x, kernel.full_spectrum, half=False)
    adjoint = kernel.grid.convolve(y, kernel.adjoint.full_spectrum, half=False)
    assert torch.allclose(
        torch.vdot(forward.flatten(), y.flatten()), torch.vdot(x.flatten(), adjoint.flatten())
    )


def test_smooth_sizes():
    assert [fast_length(n) for n in (1, 11, 13, 31)] == [1, 12, 14, 32]
    assert [fast_length(n) for n in (33, 63, 90, 127, 121)] == [36, 64, 96, 128, 128]


@pytest.mark.parametrize(
    ("shape", "lags", "boundary"),
    [
        ((5,), (4,), ("linear",)),
        ((5,), (11,), ("linear",)),
        ((5,), (7,), ("periodic",)),
        ((6,), (4,), ("periodic",)),
        ((5,), (5,), ("mirror",)),
        ((5, 5), (5,), ("linear", "linear")),
    ],
)
def test_lags_that_do_not_fit_are_refused(shape, lags, boundary):
    with pytest.raises(InputError, match="must"):
        LagGrid(shape, lags, boundary)


@pytest.mark.parametrize("transform", [fft, ifft])
def test_views_of_conjugates_and_negatives_are_transformed(transform):
    x = torch.randn(5, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    negative = x.conj().imag
    assert negative.is_neg()
    for view in (x.conj(), negative):
        torch.testing.assert_close(transform(view, 5, -1), transform(view.clone(), 5, -1))
