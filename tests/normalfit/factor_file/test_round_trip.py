"""A factor file gives back what it was given, bit for bit."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normalfit.errors import InputError
from normalfit.factor_file import FactorMetadata, load_factors, open_factors, save_factors
from normalfit.factors import Factors
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.spectral_norm import SpectralNorm


def same_bits(a, b):
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def assert_same(a: Factors, b: Factors):
    assert a.shape == b.shape
    assert a.boundary == b.boundary
    assert same_bits(a.kernel.values, b.kernel.values)
    assert same_bits(a.u, b.u)
    assert same_bits(a.v, b.v)


@pytest.mark.parametrize("diagonals", ["", "u", "v", "uv"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_every_dtype_and_every_set_of_diagonals(tmp_path, make_factors, metadata, dtype, diagonals):
    factors = make_factors(dtype=dtype, diagonals=diagonals, terms=2)
    save_factors(tmp_path / "f.zarr", factors, metadata)
    assert_same(load_factors(tmp_path / "f.zarr"), factors)


@pytest.mark.parametrize(
    "boundary",
    [("periodic",) * 3, ("linear",) * 3, ("linear", "periodic", "linear")],
)
@pytest.mark.parametrize("terms", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_every_boundary_and_number_of_terms(
    tmp_path, make_factors, metadata, boundary, terms, shared
):
    factors = make_factors(boundary=boundary, terms=terms, shared=shared, diagonals="uv")
    save_factors(tmp_path / "f.zarr", factors, metadata)
    assert_same(load_factors(tmp_path / "f.zarr"), factors)


@pytest.mark.parametrize("shape", [(130,), (70, 65), (3, 66, 2), (2, 3, 2, 3)])
def test_chunk_borders_in_any_number_of_axes(tmp_path, make_factors, metadata, shape):
    factors = make_factors(shape=shape)
    saved = dataclasses.replace(metadata, voxel_mm=None)
    save_factors(tmp_path / "f.zarr", factors, saved)
    assert_same(load_factors(tmp_path / "f.zarr"), factors)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_model_dtype_boundary_and_values(tmp_path_factory, data):
    """Terms of kernel, u and v as all models have them; values down to subnormals and -0."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    ends = tuple(data.draw(st.sampled_from(["linear", "periodic"])) for _ in shape)
    full = LagGrid.full(shape, ends).lags
    lags = tuple(data.draw(st.sampled_from([n, *range(1, n, 2)])) for n in full)
    terms = data.draw(st.integers(1, 3))
    dtype = data.draw(st.sampled_from(["float32", "float64", "complex64", "complex128"]))
    kernel_terms = data.draw(st.sampled_from([1, terms]))
    u_terms, v_terms = (data.draw(st.sampled_from([0, 1, terms])) for _ in "uv")
    kernel, u, v = (
        _drawn(data, (count, *size), dtype) if count else None
        for count, size in ((kernel_terms, lags), (u_terms, shape), (v_terms, shape))
    )
    assert kernel is not None
    factors = Factors(LagKernel(kernel, shape, ends), u, v)
    name = data.draw(st.sampled_from(["f.zarr", "f.zip"]))
    path = tmp_path_factory.mktemp("files") / name
    save_factors(path, factors, plain_metadata())
    assert_same(load_factors(path), factors)


def _drawn(data, shape, dtype):
    """Return a tensor of random bits and of values that hypothesis chose, all of them finite."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    seed = data.draw(st.integers(0, 2**32 - 1))
    real = "float32" if np.dtype(dtype).itemsize == 4 or dtype == "complex64" else "float64"
    bits = np.frombuffer(np.random.default_rng(seed).bytes(size), real).copy()
    bits[~np.isfinite(bits) | (np.abs(bits) > 1e15)] = 1.0  # a response of them stays finite
    bits[: bits.size // 2] = data.draw(st.sampled_from([0.0, -0.0, 5e-324, 1e-40, -1.5, 1e15]))
    return torch.from_numpy(bits.view(dtype).reshape(shape))


def plain_metadata():
    return FactorMetadata(None, "f", SpectralNorm(1.0, False, 3), 0.0)


def test_zeros_are_written_as_chunks(tmp_path, make_factors, metadata):
    factors = make_factors()
    zeros = Factors(factors.kernel.scaled(0.0), factors.u)
    save_factors(tmp_path / "f.zarr", zeros, metadata)
    assert (tmp_path / "f.zarr/kernel/c/0/0/0/0").is_file()
    assert_same(load_factors(tmp_path / "f.zarr"), zeros)


def test_views_and_conjugates_are_written_as_they_look(tmp_path, make_factors, metadata):
    factors = make_factors(dtype=torch.complex64).adjoint
    assert factors.v is not None
    v = factors.v.conj()
    lazy = Factors(factors.kernel, factors.u, v)
    assert v.is_conj()
    save_factors(tmp_path / "f.zarr", lazy, metadata)
    assert same_bits(load_factors(tmp_path / "f.zarr").v, v.resolve_conj())


def test_metadata_comes_back(tmp_path, make_factors, metadata):
    file = save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    assert file.metadata == metadata
    assert file.norm.value == 1.0 / 3.0
    assert set(file.header.versions) == {"normalfit", "torch", "numpy", "zarr", "python"}
    assert file.header.created.endswith("+00:00")


def test_an_opened_file_goes_to_a_worker(tmp_path, make_factors, metadata):
    factors = make_factors()
    file = pickle.loads(pickle.dumps(save_factors(tmp_path / "f.zarr", factors, metadata)))  # noqa: S301
    assert_same(file.load(), factors)


def test_load_converts_when_asked(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    assert load_factors(tmp_path / "f.zarr", dtype=torch.float64).dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_load_to_a_gpu(tmp_path, make_factors, metadata):
    factors = make_factors()
    save_factors(tmp_path / "f.zarr", factors, metadata)
    loaded = open_factors(tmp_path / "f.zarr").load("cuda")
    assert loaded.device.type == "cuda"
    assert_same(loaded.to("cpu"), factors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_factors_that_are_not_finite_are_refused(tmp_path, make_factors, metadata, value):
    factors = make_factors()
    factors.u[0, 1, 2, 3] = value
    with pytest.raises(InputError, match="u must be finite"):
        save_factors(tmp_path / "f.zarr", factors, metadata)
    assert not list(tmp_path.iterdir())


def test_batches_of_factors_are_refused(tmp_path, make_factors, metadata):
    factors = make_factors()
    batch = Factors(factors.kernel, factors.u.expand(2, *factors.u.shape))
    with pytest.raises(InputError, match="u must have no batch axes"):
        save_factors(tmp_path / "f.zarr", batch, metadata)


def test_metadata_that_json_cannot_hold_is_refused(tmp_path, make_factors, metadata):
    wrong = dataclasses.replace(metadata, report={"error": float("nan")})
    with pytest.raises(InputError, match="finite JSON"):
        save_factors(tmp_path / "f.zarr", make_factors(), wrong)
    wrong = dataclasses.replace(metadata, voxel_mm=(1.0,), adjointness=-1.0)
    with pytest.raises(InputError, match="adjointness"):
        save_factors(tmp_path / "f.zarr", make_factors(), wrong)
    wrong = dataclasses.replace(metadata, voxel_mm=(1.0,))
    with pytest.raises(InputError, match="voxel_mm must have 3 entries"):
        save_factors(tmp_path / "f.zarr", make_factors(), wrong)
    assert not list(tmp_path.iterdir())
