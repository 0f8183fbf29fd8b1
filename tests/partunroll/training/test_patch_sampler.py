"""Patches are drawn from every place and turned as configured, the same in every run."""

import numpy as np
import pytest
import torch
from tests.partunroll.training.patch_config import GRID, patch_config

from normalfit.grid import Patch
from normalfit.specs import spec_from_document
from partunroll.errors import InputError
from partunroll.patches.patch_symmetry import PatchSymmetry
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.patch_sampler import (
    PatchSampler,
    check_rotations,
    draw_patch,
    patch_around,
    rotated_axes,
)
from partunroll.training.patch_source import MAX_BUILT, PatchSource
from partunroll.training.patch_training import train

SAMPLES = {"op": ("a", "b")}


def sampler(grid=GRID, **values):
    """A sampler that reads nothing."""

    def find(sample, shape):
        pytest.fail(f"{sample} must not be read to draw")

    return PatchSampler(patch_config(grid, **values), SAMPLES, {"op": grid}, find)


@pytest.mark.parametrize(
    ("centre", "offset"),
    [
        ((6, 9), (2, 7)),
        ((0, 0), (0, 0)),
        ((19, 21), (12, 17)),
        ((4, 2), (0, 0)),
        ((16, 19), (12, 17)),
    ],
)
def test_the_voxel_is_in_the_middle_unless_a_face_is_near(centre, offset):
    assert patch_around(centre, GRID, (8, 5)) == Patch(offset, (8, 5))


def test_without_the_options_batches_are_those_of_older_runs():
    """A run of a version that knew neither can be resumed, and goes on with the same patches."""
    one, flipping = sampler(), sampler(flips=True)
    for step in range(20):
        rng = np.random.default_rng([0, step])
        rng.integers(1)
        samples = tuple(SAMPLES["op"][i] for i in rng.integers(2, size=3))
        places = tuple(draw_patch(rng, GRID, (10, 10)) for _ in range(3))
        flips = tuple(sorted(1 - i for i in np.flatnonzero(rng.integers(2, size=2))))
        draw = one.draw(step)
        assert (draw.samples, draw.places) == (samples, places)
        assert draw.symmetry.is_identity
        assert flipping.draw(step).symmetry == PatchSymmetry((0, 1), flips)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 1),
        ({"flips": True}, 4),
        ({"rotations": True}, 4),
        ({"flips": True, "rotations": True}, 8),
    ],
)
def test_all_symmetries_are_drawn(values, count):
    one = sampler(**values)
    assert len({one.draw(step).symmetry for step in range(150)}) == count


def test_only_the_named_axes_are_turned():
    one = sampler(grid=(12, 20, 20), rotations=[1, 2], patch_shape=[4, 8, 8])
    permutations = {one.draw(step).symmetry.permutation for step in range(50)}
    assert permutations == {(0, 1, 2), (0, 2, 1)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"patch_shape": [12, 9], "rotations": True},
            r"equally long, got axes \[0, 1\] of patch_sh",
        ),
        ({"rotations": [0]}, r"rotations must name at least two of the axes 0 … 1, .* got \[0\]"),
        ({"rotations": [0, 2]}, r"rotations must name at least two of the axes 0 … 1"),
        ({"rotations": [1, 1]}, r"rotations must name .* each once, got \[1, 1\]"),
        ({"rotations": []}, "rotations must name"),
    ],
)
def test_rotations_that_patches_do_not_allow_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        rotated_axes(patch_config(**values))


def test_axes_that_the_prior_does_not_see_are_not_turned():
    planes = {"network": {"prior": {"dim": 2}}, "patch_shape": 8}
    with pytest.raises(InputError, match=r"the prior sees, \[1, 2\], got \[0, 1, 2\]"):
        rotated_axes(patch_config((20, 20, 20), rotations=True, **planes))
    assert rotated_axes(patch_config((20, 20, 20), rotations=[1, 2], **planes)) == (1, 2)
    across = {"network": {"prior": {"dim": 2, "slice_axis": 1}}, "patch_shape": 8}
    assert rotated_axes(patch_config((20, 20, 20), rotations=[0, 2], **across)) == (0, 2)
    with pytest.raises(InputError, match=r"the prior sees, \[0, 2\], got \[1, 2\]"):
        rotated_axes(patch_config((20, 20, 20), rotations=[1, 2], **across))


def test_voxels_of_several_sides_are_not_turned_into_each_other():
    document = {"kind": "deconvolution", "volume_shape": [20, 20, 20], "voxel_mm": [2, 1, 1]}
    spec = spec_from_document({**document, "gaussian_std_voxels": 0.5}, {})
    cube = {"patch_shape": 8, "grid": (20, 20, 20)}
    with pytest.raises(InputError, match=r"got axes \[0, 1, 2\] of operator ct with voxels of \(2"):
        check_rotations(patch_config(rotations=True, **cube), {"ct": spec})
    check_rotations(patch_config(rotations=[1, 2], **cube), {"ct": spec})
    check_rotations(patch_config(**cube), {"ct": spec})


def test_rotations_are_refused_before_a_run_is_made(problem, tmp_path):
    with pytest.raises(InputError, match="equally long"):
        train(problem.config(rotations=True), problem.factors, problem.data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_turned_batches_are_those_of_plain_batches(problem, normal):
    """As `transformed` of what is drawn without the option."""
    values = {"patch_shape": 10, "normal": normal, "batch": 2}
    plain, turned = (
        PatchDataset(problem.data, problem.operators, problem.config(**values, rotations=on))
        for on in (False, True)
    )
    seen = set()
    for step in range(8):
        one, other = plain[step], turned[step]
        symmetry = turned._sampler.draw(step).symmetry
        seen.add(symmetry)
        assert torch.equal(other.truth, symmetry(one.truth))
        assert torch.equal(other.initial_gradient, symmetry(one.initial_gradient))
        x = torch.rand(one.truth.shape)
        assert torch.equal(other.normal(symmetry(x)), symmetry(one.normal(x)))
    assert len(seen) > 2


def test_few_operators_are_kept(problem):
    operators = {f"op{i}": problem.operators[0] for i in range(6)}
    source = PatchSource(problem.data, operators, cache=True, device=torch.device("cpu"))
    first = source.operator("op0")
    for i in range(1, MAX_BUILT):
        source.operator(f"op{i}")
    assert source.operator("op0") is first
    source.operator("op5")  # in the place of op1, which was not used for longest
    assert source.operator("op0") is first
    assert set(source._built) == {"op0", "op2", "op3", "op5"}
