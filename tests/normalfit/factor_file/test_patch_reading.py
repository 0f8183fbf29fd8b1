"""A patch of a factor file is exactly the restriction, read without the rest."""

import dataclasses
import itertools
import shutil

import pytest
import torch

from normalfit.errors import FactorFileError, InputError
from normalfit.factor_file import open_factors, save_factors
from normalfit.grid import Patch
from normalfit.restriction import restrict


def assert_same_restriction(file, factors, patch):
    expected = restrict(factors, patch)
    found = file.restrict(patch)
    assert found.shape == expected.shape
    assert found.boundary == expected.boundary
    assert torch.equal(found.kernel.values, expected.kernel.values)
    assert same(found.u, expected.u)
    assert same(found.v, expected.v)


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return torch.equal(a, b)


@pytest.mark.parametrize("ends", list(itertools.product(["linear", "periodic"], repeat=2)))
@pytest.mark.parametrize("shape", [(6, 7), (7, 6)])
def test_every_patch_of_a_small_grid(tmp_path, make_factors, metadata, ends, shape):
    factors = make_factors(shape=shape, boundary=ends, terms=2, diagonals="uv")
    file = save_factors(tmp_path / "f.zarr", factors, _without_voxels(metadata))
    for p, q in itertools.product([1, 2, 3, 4, shape[0]], [1, 4, 5, shape[1]]):
        offset = (shape[0] - p, (shape[1] - q) // 2)
        assert_same_restriction(file, factors, Patch(offset, (p, q)))


@pytest.mark.parametrize("ends", [("linear", "linear"), ("periodic", "periodic")])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_limited_support(tmp_path, make_factors, metadata, ends, side):
    factors = make_factors(shape=(8, 9), boundary=ends, lags=(5, 3))
    file = save_factors(tmp_path / "f.zarr", factors, _without_voxels(metadata))
    assert_same_restriction(file, factors, Patch((8 - side, 1), (side, min(side, 8))))


def test_only_the_chunks_of_the_patch_are_read(tmp_path, make_factors, metadata):
    path = tmp_path / "f.zarr"
    factors = make_factors(shape=(200, 130), terms=2)
    file = save_factors(path, factors, _without_voxels(metadata))
    patch = Patch((10, 20), (40, 30))
    expected = restrict(factors, patch)
    kept = _chunks_of(path / "u", ["0", "0"]) | _central_chunks(path / "kernel")
    removed = 0
    for chunk in [*(path / "u").rglob("c/*/*/*"), *(path / "kernel").rglob("c/*/*/*")]:
        if chunk not in kept:
            chunk.unlink()
            removed += 1
    assert removed > len(kept)
    found = open_factors(path).restrict(patch)
    assert same(found.u, expected.u)
    assert torch.equal(found.kernel.values, expected.kernel.values)
    with pytest.raises(FactorFileError, match=r"chunk \d.* of kernel must exist"):
        file.load()
    with pytest.raises(FactorFileError, match=r"chunk 0/2/1 of u must exist"):
        file.restrict(Patch((150, 100), (2, 2)))


def test_the_diagonals_of_other_terms_are_not_missed(tmp_path, make_factors, metadata):
    path = tmp_path / "f.zarr"
    file = save_factors(path, make_factors(terms=3), metadata)
    shutil.rmtree(path / "u/c/2")
    with pytest.raises(FactorFileError, match="chunk 2/0/0/0 of u must exist"):
        file.restrict(Patch((0, 0, 0), (2, 2, 2)))


def test_a_patch_outside_is_refused(tmp_path, make_factors, metadata):
    file = save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    with pytest.raises(InputError, match="patch must lie inside"):
        file.restrict(Patch((5, 0, 0), (2, 2, 2)))


def _without_voxels(metadata):
    return dataclasses.replace(metadata, voxel_mm=None)


def _chunks_of(array, index):
    return {chunk for chunk in array.rglob("c/*/*/*") if list(chunk.parts[-2:]) == index}


def _central_chunks(array):
    """Lags -39…39 of 399 are entries 160…238, lags -29…29 of 259 are entries 100…158."""
    wanted = {(str(i), str(j)) for i in (2, 3) for j in (1, 2)}
    return {chunk for chunk in array.rglob("c/*/*/*") if chunk.parts[-2:] in wanted}
