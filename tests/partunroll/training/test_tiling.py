"""Patches cover the grid and their windows sum to one, at borders and for any length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normalfit.grid import Patch
from partunroll.errors import InputError
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.patches.tiling import tile
from partunroll.patches.windows import Blend, BlendWindows


@st.composite
def tilings(draw):
    num_axes = draw(st.integers(1, 3))
    shape, patch_shape, stride = [], [], []
    for _ in range(num_axes):
        n = draw(st.integers(1, 12))
        p = draw(st.integers(1, n))
        shape.append(n)
        patch_shape.append(p)
        stride.append(draw(st.integers(1, p)))
    return tuple(shape), tuple(patch_shape), tuple(stride)


@given(tilings())
@settings(max_examples=100, deadline=None)
def test_patches_lie_inside_and_cover_every_voxel(tiling):
    shape, patch_shape, stride = tiling
    covered = torch.zeros(shape)
    for patch in tile(shape, patch_shape, stride):
        patch.check_inside(shape)
        assert patch.shape == patch_shape
        patch.extract(covered).add_(1)
    assert covered.min() >= 1


@given(tilings())
@settings(max_examples=100, deadline=None)
def test_no_patch_is_drawn_twice(tiling):
    patches = tile(*tiling)
    assert len(set(patches)) == len(patches)


@pytest.mark.parametrize("length", [9, 10, 11, 12])
def test_last_offset_is_always_drawn(length):
    patches = tile((length,), (4,), 3)
    assert max(patch.offset for patch in patches) == (length - 4,)


@pytest.mark.parametrize("kind", ["hann", "gaussian", "crop"])
@given(tiling=tilings())
@settings(max_examples=60, deadline=None)
def test_windows_sum_to_one_on_every_voxel(kind, tiling):
    windows = BlendWindows(*tiling, kind)
    blend = Blend(windows, dtype=torch.float64)
    for patch in windows.patches:
        blend.add(patch, torch.ones(patch.shape, dtype=torch.float64))
    torch.testing.assert_close(blend.volume, torch.ones_like(blend.volume), rtol=0, atol=1e-14)


@given(tilings())
@settings(max_examples=50, deadline=None)
def test_blending_patches_of_a_volume_gives_the_volume(tiling):
    windows = BlendWindows(*tiling)
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn((2, *windows.shape), generator=generator)
    blend = Blend(windows, batch=(2,))
    for patch in windows.patches:
        blend.add(patch, patch.extract(volume))
    torch.testing.assert_close(blend.volume, volume)


@pytest.mark.parametrize("patch_length", [5, 6])
@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_inner_windows_are_symmetric_about_the_patch_centre(patch_length, overlap):
    stride = patch_length - overlap
    windows = BlendWindows((patch_length + 4 * stride,), (patch_length,), stride)
    inner = windows.window(windows.patches[2], dtype=torch.float64)
    torch.testing.assert_close(inner, inner.flip(0), rtol=0, atol=1e-14)
    assert inner[0] < inner[overlap - 1] or overlap == 1


@given(tilings())
@settings(max_examples=60, deadline=None)
def test_cropped_voxels_are_out_of_one_patch_each(tiling):
    windows = BlendWindows(*tiling, "crop")
    owners = torch.zeros(windows.shape)
    for patch in windows.patches:
        window = windows.window(patch)
        assert bool(((window == 0) | (window == 1)).all())
        patch.extract(owners).add_(window)
    assert bool((owners == 1).all())


@pytest.mark.parametrize("patch_length", [5, 6])
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_cropped_voxels_are_out_of_the_patch_with_the_nearest_centre(patch_length, stride):
    windows = BlendWindows((19,), (patch_length,), stride, "crop")
    voxels = torch.arange(19.0)
    centres = [patch.offset[0] + (patch_length - 1) / 2 for patch in windows.patches]
    nearest = torch.stack([(voxels - c).abs() for c in centres]).min(0).values
    for patch, centre in zip(windows.patches, centres, strict=True):
        owned = voxels[patch.slices[0]][windows.window(patch) == 1]
        assert len(owned)
        assert torch.equal((owned - centre).abs(), nearest[owned.long()])


@pytest.mark.parametrize("patch_length", [7, 8])
def test_gaussian_windows_are_nnunets_before_they_are_divided_by_their_sum(patch_length):
    windows = BlendWindows((patch_length + 2,), (patch_length,), 2, "gaussian")
    first, second = (windows.window(p, dtype=torch.float64) for p in windows.patches)
    j = torch.arange(patch_length, dtype=torch.float64) - (patch_length - 1) / 2
    gauss = torch.exp(-0.5 * (j / (patch_length / 8)) ** 2)
    torch.testing.assert_close(first[2:] / second[:-2], gauss[2:] / gauss[:-2])
    torch.testing.assert_close(first, second.flip(0))  # about the centre, at borders too


def test_half_overlap_of_hann_windows_is_the_hann_window():
    windows = BlendWindows((24,), (8,), 4)
    inner = windows.window(windows.patches[1], dtype=torch.float64)
    expected = torch.sin(torch.pi * (torch.arange(8, dtype=torch.float64) + 0.5) / 8) ** 2
    torch.testing.assert_close(inner, expected)


def test_an_unknown_kind_of_window_is_refused():
    with pytest.raises(InputError, match="blend must be one of hann, gaussian, crop, got 'box'"):
        BlendWindows((8,), (4,), 2, "box")


def test_windows_do_not_fall_towards_a_border_of_the_grid():
    windows = BlendWindows((16,), (8,), 4)
    first, *_, last = windows.patches
    assert (windows.window(first)[:4] == 1).all()
    assert (windows.window(last)[-4:] == 1).all()


def test_windows_rise_over_the_whole_overlap_and_are_positive():
    windows = BlendWindows((20,), (8,), 4)
    ramp = windows.window(windows.patches[1], dtype=torch.float64)[:4]
    assert (ramp > 0).all()
    assert (ramp.diff() > 0).all()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (((8, 8), (9, 4), 2), "patch length"),
        (((8, 8), (4, 4), 5), "stride"),
        (((8, 8), (4, 4), 0), "stride"),
        (((8, 8), (4, 4), (1, 2, 3)), "stride"),
        (((8, 8), (4, 4, 4), 2), "patch_shape"),
    ],
)
def test_what_would_leave_gaps_is_refused(arguments, name):
    with pytest.raises(InputError, match=name):
        tile(*arguments)


def test_one_patch_as_large_as_the_grid_has_the_window_one():
    windows = BlendWindows((6, 5), (6, 5), (6, 5))
    assert windows.patches == (Patch.whole((6, 5)),)
    assert (windows.window(windows.patches[0]) == 1).all()


@pytest.mark.parametrize("choice", [{}, {"overlap": "half"}, {"overlap": 3}, {"stride": 6}])
@pytest.mark.parametrize("blend", ["hann", "gaussian", "crop"])
def test_slices_overlap_within_themselves_only(choice, blend):
    windows = overlapping_windows((3, 20, 16), (1, 8, 12), **choice, blend=blend)
    assert sorted({patch.offset[0] for patch in windows.patches}) == [0, 1, 2]
    assert len({patch.offset[1] for patch in windows.patches}) > 2
    total = torch.zeros(windows.shape)
    for patch in windows.patches:
        patch.extract(total).add_(windows.window(patch))
    torch.testing.assert_close(total, torch.ones(windows.shape))
