"""A volume blended strip by strip, beside a scratch file, is the one blended in memory."""

import itertools

import numpy as np
import pytest
import torch

from partunroll.patches.blended_patches import blend_patches, overlapping_windows
from partunroll.patches.blended_strips import blend_in_strips
from partunroll.scratch_planes import ScratchPlanes
from partunroll.training.step_memory import step_memory

FLOAT = np.dtype(np.float32)


def solved(patches):
    """Return something else for every patch, so that none can stand for another."""
    noise = [torch.Generator().manual_seed(hash(patch.offset) % 2**31) for patch in patches]
    return torch.stack(
        [torch.rand(p.shape, generator=g) for p, g in zip(patches, noise, strict=True)]
    )


def blended(folder, windows, count, batch=3, first=0):
    """Return the planes from `first` on, taken out of the scratch file as soon as they may be."""
    planes, done = [], first
    with ScratchPlanes(folder, count, windows.shape, FLOAT) as scratch:
        found = blend_in_strips(
            lambda _, patches: solved(patches), windows, scratch,
            dtype=torch.float32, batch=batch, first=first,
        )  # fmt: skip
        for _, stop in found:
            planes.append(scratch.read(range(done, max(done, stop)), range(windows.shape[1])))
            done = max(done, stop)
    return np.concatenate(planes)


@pytest.mark.parametrize(
    ("shape", "patch", "options"),
    [
        ((17, 9, 8), 6, {}),
        ((17, 9, 8), 6, {"overlap": "half", "blend": "gaussian"}),
        ((11, 12, 7), (4, 5, 3), {"stride": (3, 2, 3)}),
        ((8, 8, 8), 4, {"overlap": 0, "blend": "crop"}),
        ((9, 7, 6), (1, 7, 4), {}),
        ((9, 7, 6), (4, 1, 6), {}),
        ((6, 6, 6), 6, {}),
        ((13, 10), 5, {}),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_strips_are_the_volume_in_memory_bit_for_bit(tmp_path, shape, patch, options, batch):
    windows = overlapping_windows(shape, patch, **options)
    expected = blend_patches(solved, windows, torch.zeros(shape), batch)
    depth = windows.patches[0].shape[0]
    np.testing.assert_array_equal(blended(tmp_path, windows, depth, batch), expected.numpy())
    middle = shape[0] // 2
    later = blended(tmp_path, windows, depth, batch, first=middle)
    np.testing.assert_array_equal(later, expected[middle:].numpy())


def test_memory_is_that_of_a_strip_whatever_the_volume(tmp_path):
    def peak(*shape):
        windows = overlapping_windows(shape, 8)
        network = torch.nn.Linear(1, 1)
        return step_memory(lambda: blended(tmp_path, windows, 8, batch=1), network).peak

    small = peak(16, 16, 64)
    assert small < 2 * 4 * 8 * 8 * 64  # of two strips
    assert peak(48, 64, 64) == small


def test_scratch_planes_give_back_what_was_written(tmp_path):
    shape = (9, 5, 4)
    values = np.random.default_rng(0).random(shape).astype(FLOAT)
    with ScratchPlanes(tmp_path, 3, shape, FLOAT) as scratch:
        assert not scratch.read(range(3), range(5)).any()
        for start, rows in itertools.product(range(0, 9, 3), (range(2), range(2, 5))):
            scratch.write(start, rows, values[start : start + 3, rows.start : rows.stop])
        np.testing.assert_array_equal(scratch.read(range(6, 9), range(1, 4)), values[6:, 1:4])
        scratch.write(9, range(5), values[:1])  # it takes the place of plane 6
        np.testing.assert_array_equal(scratch.read(range(7, 10), range(5))[2], values[0])
        np.testing.assert_array_equal(scratch.read(range(6, 7), range(5))[0], values[0])
    assert not list(tmp_path.iterdir())
