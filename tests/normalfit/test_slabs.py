"""Factors applied slab by slab equal factors applied to the whole, whatever the boundary."""

import math

import numpy as np
import pytest
import torch
import zarr

from normalfit import apply_in_slabs
from normalfit.errors import InputError
from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.restriction import restrict
from normalfit.slab_memory import slab_bytes
from normalfit.slabs import SlabFactors
from normalfit.spectral_norm import SpectralNorm

SHAPE = (23, 5, 6)


def make_factors(
    lags, boundary="linear", *, dtype=torch.float64, terms=1, diagonals="uv", shared=1
):
    generator = torch.Generator().manual_seed(3)
    images = {
        name: torch.randn(terms, *SHAPE, dtype=dtype, generator=generator) for name in diagonals
    }
    kernel = torch.randn(terms // shared, *lags, dtype=dtype, generator=generator)
    return Factors(LagKernel(kernel, SHAPE, (boundary,) * 3), images.get("u"), images.get("v"))


def volume(dtype=torch.float64):
    return torch.randn(SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    ("lags", "boundary"),
    [
        ((5, 3, 3), "linear"),
        ((1, 9, 11), "linear"),
        ((45, 9, 11), "linear"),  # every lag there is: the whole axis
        ((5, 3, 3), "periodic"),
        ((1, 5, 6), "periodic"),
        ((23, 5, 6), "periodic"),
    ],
)
@pytest.mark.parametrize("planes", [1, 4, 11, 23])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_slabs_equal_the_whole(lags, boundary, planes, dtype):
    factors, x = make_factors(lags, boundary, dtype=dtype, terms=2), volume(dtype)
    found = torch.from_numpy(apply_in_slabs(factors, x.numpy(), planes=planes))
    torch.testing.assert_close(found, factors(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("diagonals", ["", "u", "v"])
@pytest.mark.parametrize("terms", [1, 3])
def test_absent_diagonals_and_shared_kernels(diagonals, terms):
    terms = terms if diagonals else 1
    factors = make_factors((5, 3, 3), terms=terms, diagonals=diagonals, shared=terms)
    found = apply_in_slabs(factors, volume().numpy(), planes=4)
    torch.testing.assert_close(torch.from_numpy(found), factors(volume()), rtol=1e-12, atol=1e-12)


def test_complex_factors_of_a_real_volume():
    factors = make_factors((5, 3, 3), dtype=torch.complex128)
    found = torch.from_numpy(apply_in_slabs(factors, volume().numpy(), planes=4))
    torch.testing.assert_close(found, factors(volume()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", ["linear", "periodic"])
def test_a_file_and_zarr_arrays_are_streamed(tmp_path, boundary):
    factors = make_factors((5, 3, 3), boundary, dtype=torch.float32, terms=2)
    metadata = FactorMetadata(None, "0" * 64, SpectralNorm(1.0, True, 1), 0.0)
    file = save_factors(tmp_path / "f.zarr", factors, metadata)
    x = volume(torch.float32)
    stored = zarr.create_array(tmp_path / "x.zarr", data=x.numpy(), chunks=(4, 5, 6))
    output = zarr.create_array(tmp_path / "y.zarr", shape=SHAPE, chunks=(4, 5, 6), dtype="float32")
    seen = []
    result = apply_in_slabs(file, stored, output, planes=6, progress=lambda *a: seen.append(a[1]))
    assert result is output
    torch.testing.assert_close(torch.from_numpy(output[:]), factors(x), rtol=1e-4, atol=1e-4)
    assert seen == [6, 12, 18, 23]


def test_no_slab_reads_more_than_its_halo():
    reads = []

    class Watched:
        shape, dtype = SHAPE, np.dtype(np.float64)

        def __getitem__(self, planes):
            reads.append((planes.start, planes.stop))
            return volume().numpy()[planes]

    apply_in_slabs(make_factors((5, 3, 3)), Watched(), planes=6)
    assert reads == [(0, 8), (4, 14), (10, 20), (16, 23)]


def test_memory_decides_the_planes():
    factors = make_factors((5, 3, 3))
    whole = SlabFactors.of(factors)
    small = SlabFactors.of(factors, max_bytes=slab_bytes(factors.kernel, 1, 14))
    assert whole.planes == SHAPE[0]
    assert small.planes == 14 - 2 * 2


def test_a_read_only_volume_is_one(tmp_path):
    x = volume().numpy()
    x.flags.writeable = False
    factors = make_factors((5, 3, 3))
    found = torch.from_numpy(apply_in_slabs(factors, x, planes=23))
    torch.testing.assert_close(found, factors(volume()), rtol=1e-12, atol=1e-12)


def test_a_grid_too_large_for_one_fft_goes_by_slabs_and_patches(monkeypatch):
    factors, x = make_factors((5, 3, 3), terms=2), volume()
    expected = factors(x)
    points = math.prod(factors.kernel.grid.fft_shape)
    for module in ("lag_grid", "slab_memory"):
        monkeypatch.setattr(f"normalfit.{module}.MAX_ELEMENTS", points - 1)
    factors = make_factors((5, 3, 3), terms=2)
    with pytest.raises(InputError, match=r"padded grid must have at most 2\^31 elements"):
        factors(x)
    found = torch.from_numpy(apply_in_slabs(factors, x.numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    patch = Patch((0, 1, 2), (4, 3, 3))
    part = patch.extract(x)
    found = restrict(factors, patch)(part)
    monkeypatch.undo()
    wanted = patch.extract(factors(patch.embed(part, SHAPE)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planes": 0}, "planes must be at least 1, got 0"),
        ({"max_bytes": 1000}, "max_bytes must be at least [0-9]+ for a slab .* 5 lags, got 1000"),
        ({"output": np.zeros((4, 5, 6))}, "output must be another array of shape"),
    ],
)
def test_what_cannot_be_done_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        apply_in_slabs(make_factors((5, 3, 3)), volume().numpy(), **options)


def test_another_shape_is_refused():
    with pytest.raises(InputError, match=r"x must have the shape \(23, 5, 6\), got \(3, 5, 6\)"):
        apply_in_slabs(make_factors((5, 3, 3)), np.zeros((3, 5, 6)), planes=4)
