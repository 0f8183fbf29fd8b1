"""Patches are drawn around the foreground, whose search reads no other chunk than it must."""

import shutil

import numpy as np
import pytest
import torch
from tests.partunroll.training.patch_config import patch_config

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.grid import Patch
from normalfit.lag_kernel import LagKernel
from normalfit.specs import spec_from_document
from normalfit.spectral_norm import SpectralNorm
from partunroll.errors import DataStoreError, InputError
from partunroll.store.data_store import SampleInfo, create_store
from partunroll.store.data_store_arrays import write_array
from partunroll.store.data_store_header import SAMPLE_ARRAYS
from partunroll.training.foreground import ForegroundMap
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.patch_sampler import PatchSampler
from partunroll.training.training_operator import match_factor_files

VOLUME = (40, 33, 70)  # blocks of 32 voxels, the last ones cut


@pytest.fixture(scope="module")
def volume():
    """Two boxes and a single voxel at the far corner, over noise below the threshold."""
    x = np.random.default_rng(0).random(VOLUME, dtype=np.float32) / 10
    x[3:9, 4:30, 30:36] = 0.6  # across two blocks
    x[35:38, 2:5, 40:44] = -0.7
    x[-1, -1, -1] = 0.5
    return x


def test_the_map_counts_voxels_per_block(volume):
    read = lambda patch: volume[patch.slices]  # noqa: E731
    found = ForegroundMap.of_volume("a", VOLUME, 0.3, read)
    assert found.counts.sum() == np.count_nonzero(np.abs(volume) > 0.3)
    assert found.counts.nbytes == 8 * 2 * 2 * 3


def test_every_foreground_voxel_is_drawn_equally_often(volume):
    part = volume[34:, :6, 38:46]  # 36 voxels
    read = lambda patch: part[patch.slices]  # noqa: E731
    found = ForegroundMap.of_volume("a", part.shape, 0.3, read)
    rng = np.random.default_rng(1)
    counts = np.zeros(part.shape, int)
    for _ in range(3600):
        counts[found.locate(found.draw(rng), read)] += 1
    assert np.array_equal(counts > 0, np.abs(part) > 0.3)
    assert counts[counts > 0].min() > 60
    assert counts.max() < 150


def test_voxels_of_all_blocks_are_found(volume):
    read = lambda patch: volume[patch.slices]  # noqa: E731
    found = ForegroundMap.of_volume("a", VOLUME, 0.3, read)
    rng = np.random.default_rng(2)
    drawn = [found.draw(rng) for _ in range(300)]
    assert all(abs(volume[found.locate(voxel, read)]) > 0.3 for voxel in drawn)
    blocks = {voxel.block.offset for voxel in drawn}
    assert (
        {(0, 0, 0), (0, 0, 32), (32, 0, 32)}
        <= blocks
        <= {*[(0, 0, 0), (0, 0, 32), (32, 0, 32), (32, 32, 64)]}
    )


def test_the_share_of_patches_around_the_foreground(volume):
    volumes = {"a": volume, "b": volume}
    read = lambda sample, patch: volumes[sample][patch.slices]  # noqa: E731

    def find(sample, shape):
        return ForegroundMap.of_volume(sample, shape, 0.3, lambda patch: read(sample, patch))

    config = patch_config(VOLUME, sampling={"foreground": 0.8, "threshold": 0.3})
    one = PatchSampler(config, {"op": ("a", "b")}, {"op": VOLUME}, find)
    hits = []
    for step in range(150):
        draw = one.draw(step)
        for place, patch in zip(
            draw.places, one.patches(draw.samples, draw.places, read), strict=True
        ):
            patch.check_inside(VOLUME)
            if not isinstance(place, Patch):
                assert np.abs(volume[patch.slices]).max() > 0.3
            hits.append(not isinstance(place, Patch))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.06)


def test_a_threshold_above_a_reference_is_refused_by_sample(problem):
    values = problem.config(sampling={"foreground": 0.5, "threshold": 1.5})
    with pytest.raises(InputError, match=r"threshold must be below .* sample std1-0, 1, got 1.5"):
        PatchDataset(problem.data, problem.operators, values)


@pytest.mark.parametrize("cache", [True, False])
def test_the_foreground_is_as_decided_by_seed_and_step_as_the_rest(problem, cache):
    values = problem.config(sampling={"foreground": 1.0}, cache=cache, flips=True)
    first, second = (PatchDataset(problem.data, problem.operators, values) for _ in range(2))
    backwards = [second[step] for step in (3, 2, 1, 0)][::-1]
    for step, batch in enumerate(backwards):
        assert torch.equal(first[step].truth, batch.truth)
        assert first[step].patches == batch.patches
        assert bool((batch.truth > 0.1).flatten(1).any(1).all())


@pytest.fixture
def large(tmp_path):
    """A store of an image of 600 × 300 voxels, in chunks of 256 × 256, with a box in chunk 2/0."""
    shape = (600, 300)
    document = {"kind": "deconvolution", "volume_shape": list(shape), "gaussian_std_voxels": 0.5}
    spec = spec_from_document(document, {})
    image = np.zeros(shape, np.float32)
    image[560:580, 20:40] = 1
    info = SampleInfo(id="a", operator="op", split="train", source="test")
    with create_store(tmp_path / "data.zarr", {"op": spec}, {}) as writer:
        writer.add_sample(info, dict.fromkeys(SAMPLE_ARRAYS, image))
    u = torch.ones(1, *shape)
    factors = Factors(LagKernel(torch.ones(1, 3, 3) / 9, shape, ("linear",) * 2), u)
    norm = SpectralNorm(1.0, converged=True, iterations=1)
    save_factors(tmp_path / "op.zarr", factors, FactorMetadata(spec, spec.fingerprint, norm, 0.0))
    return tmp_path, match_factor_files({"op": spec}, [tmp_path / "op.zarr"])


def test_only_the_chunks_that_patches_meet_are_read(large):
    """All others are deleted once the foreground is known: of the volumes and of u."""
    folder, operators = large
    values = patch_config((600, 300), sampling={"foreground": 1.0}, cache=False)
    dataset = PatchDataset(folder / "data.zarr", operators, values)
    removed = 0
    volumes = [(folder / "data.zarr/samples/a" / n / "c", {("2", "0")}) for n in SAMPLE_ARRAYS]
    diagonal = folder / "op.zarr/u/c/0", {("8", "0"), ("9", "0")}  # patches in 555…584, 15…44
    for chunks, kept in (*volumes, diagonal):
        for chunk in chunks.rglob("*/*"):
            if chunk.relative_to(chunks).parts not in kept:
                chunk.unlink()
                removed += 1
    assert removed > 60
    for step in range(3):
        assert bool(dataset[step].truth.flatten(1).any(1).all())
    shutil.rmtree(folder / "data.zarr/samples/a/reference/c")
    dataset._sampler.draw(3)  # reads nothing
    with pytest.raises(DataStoreError, match="chunk 2/0 of reference must exist"):
        _ = dataset[3]


def test_the_foreground_is_counted_once_for_all_runs(large):
    folder, operators = large
    values = patch_config((600, 300), sampling={"foreground": 1.0}, cache=False)
    first = PatchDataset(folder / "data.zarr", operators, values)
    chunks = folder / "data.zarr/samples/a/reference/c"
    chunks.rename(folder / "away")  # no chunk of it can be read
    second = PatchDataset(folder / "data.zarr", operators, values)
    assert [second._sampler.draw(s) for s in range(9)] == [first._sampler.draw(s) for s in range(9)]
    values = patch_config((600, 300), sampling={"foreground": 1.0, "threshold": 0.5}, cache=False)
    with pytest.raises(DataStoreError, match="reference must exist"):
        PatchDataset(folder / "data.zarr", operators, values)


@pytest.mark.parametrize("damage", ["of another reference", "chunk", "metadata"])
def test_counts_that_do_not_belong_or_are_damaged_are_made_again(large, damage):
    folder, operators = large
    values = patch_config((600, 300), sampling={"foreground": 1.0}, cache=False)
    counts = folder / "data.zarr/samples/a/foreground-0.1"
    expected = PatchDataset(folder / "data.zarr", operators, values)._sampler.draw(0)
    if damage == "chunk":
        (counts / "c/0").write_bytes(b"nothing")
    elif damage == "metadata":
        (counts / "zarr.json").write_text("{")
    else:
        shutil.rmtree(counts)
        write_array(counts, np.array([1, 0, 0, 0, 0, 0]), (6,), {"reference_sha256": "0" * 64})
    assert PatchDataset(folder / "data.zarr", operators, values)._sampler.draw(0) == expected
