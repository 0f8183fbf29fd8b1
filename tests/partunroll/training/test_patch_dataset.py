"""Batches are decided by (seed, step) alone, lie everywhere, and hold what (3') needs."""

import pickle

import numpy as np
import pytest
import torch

from normalfit.factor_file import open_factors
from normalfit.grid import Patch
from normalfit.restriction import restrict
from partunroll.errors import InputError
from partunroll.patches.patch_normals import RestrictedNormals
from partunroll.patches.patch_symmetry import PatchSymmetry
from partunroll.store.data_store import DataStore, SampleInfo, create_store
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.patch_sampler import draw_patch

GRID = (20, 22)
AXES = ((), (-1,), (-2,), (-1, -2))


def dataset(problem, **values):
    return PatchDataset(problem.data, problem.operators, problem.config(**values))


def same(first, second):
    x = torch.rand(first.truth.shape, generator=torch.Generator().manual_seed(0))
    return (
        (first.step, first.operator, first.samples, first.patches)
        == (second.step, second.operator, second.samples, second.patches)
        and torch.equal(first.initial_estimate, second.initial_estimate)
        and torch.equal(first.truth, second.truth)
        and torch.equal(first.initial_gradient, second.initial_gradient)
        and torch.equal(first.normal(x), second.normal(x))
    )


def test_every_offset_is_drawn_about_equally_often_the_last_included():
    rng = np.random.default_rng(0)
    counts = np.zeros((3, 5), dtype=int)
    for _ in range(3000):
        patch = draw_patch(rng, (6, 9), (4, 5))
        patch.check_inside((6, 9))
        counts[patch.offset] += 1
    assert counts.min() > 150
    assert counts.max() < 250


def test_patch_as_large_as_the_grid_is_drawn():
    assert draw_patch(np.random.default_rng(0), (4, 5), (4, 5)) == Patch.whole((4, 5))


def test_batch_depends_on_seed_and_step_alone(problem):
    straight = [dataset(problem)[step] for step in range(4)]
    one = dataset(problem)
    backwards = [one[step] for step in reversed(range(4))]
    assert all(same(*pair) for pair in zip(straight, reversed(backwards), strict=True))
    assert not same(straight[0], straight[1])
    assert not same(straight[0], dataset(problem, seed=1)[0])


def test_total_number_of_steps_does_not_change_a_batch(problem):
    assert same(dataset(problem)[3], dataset(problem, steps=10)[3])


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_reading_patches_equals_caching_volumes(problem, normal):
    cached = dataset(problem, normal=normal)[5]
    assert same(cached, dataset(problem, normal=normal, cache=False)[5])


def test_spawned_workers_change_nothing(problem):
    made_here = dataset(problem)
    loader = torch.utils.data.DataLoader(
        dataset(problem),
        batch_size=None,
        sampler=range(4),
        num_workers=1,
        multiprocessing_context="spawn",
    )
    assert all(same(batch, made_here[batch.step]) for batch in loader)


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_batch_pickles_for_its_way_from_a_worker(problem, normal):
    batch = dataset(problem, normal=normal, flips=True)[3]
    assert same(pickle.loads(pickle.dumps(batch)), batch)  # noqa: S301


def test_dataset_pickles_without_what_it_has_opened(problem):
    used = dataset(problem)
    expected = used[2]
    content = pickle.dumps(used)
    # the factor file remembers the sizes of its arrays, and nothing remembers an array
    assert len(content) < len(pickle.dumps(dataset(problem))) + 200
    assert same(pickle.loads(content)[2], expected)  # noqa: S301


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_batch_holds_the_patch_problem(problem, normal):
    """x0, x*, g0 and B_p are those of full-volume operators, cut to the patch."""
    batch = dataset(problem, normal=normal, batch=3)[7]
    store, spec = DataStore.open(problem.data), problem.specs[batch.operator]
    operator = spec.build()
    file = open_factors(problem.factors[list(problem.specs).index(batch.operator)])
    x = torch.rand(3, 12, 9)
    for i, (sample, patch) in enumerate(zip(batch.samples, batch.patches, strict=True)):
        x0, truth, y = (
            torch.from_numpy(store.read(sample, name))
            for name in ("initial_estimate", "reference", "measurements")
        )
        assert torch.equal(batch.initial_estimate[i], patch.extract(x0))
        assert torch.equal(batch.truth[i], patch.extract(truth))
        # the volume with the context of the truth, and the patch of the initial estimate
        volume = truth.clone()
        patch.extract(volume).copy_(patch.extract(x0))
        gradient = patch.extract(operator.adjoint(operator.forward(volume) - y)) / file.norm.value
        torch.testing.assert_close(batch.initial_gradient[i], gradient, atol=1e-6, rtol=1e-4)
        exact = patch.extract(operator.normal(patch.embed(x[i], GRID)))
        wanted = exact if normal == "exact" else restrict(file.load(), patch)(x[i])
        torch.testing.assert_close(batch.normal(x)[i], wanted / file.norm.value)


def test_flipped_batch_is_the_mirrored_problem(problem):
    batch = dataset(problem)[3]
    flipped = batch.transformed(PatchSymmetry((0, 1), (1,)))
    assert torch.equal(flipped.truth.flip(-1), batch.truth)
    assert torch.equal(flipped.initial_gradient.flip(-1), batch.initial_gradient)
    x = torch.rand(batch.truth.shape)
    assert torch.equal(flipped.normal(x.flip(-1)).flip(-1), batch.normal(x))


def test_flips_are_off_by_default_and_drawn_along_every_axis(problem):
    plain, flipping = dataset(problem), dataset(problem, flips=True)
    seen = set()
    for step in range(40):
        x0, flipped = plain[step].initial_estimate, flipping[step].initial_estimate
        seen |= {axes for axes in AXES if torch.equal(x0.flip(axes), flipped)}
    assert seen == set(AXES)


def test_validation_samples_are_never_drawn(problem):
    one = dataset(problem)
    drawn = {sample for step in range(60) for sample in one[step].samples}
    assert drawn == {f"std{std}-{number}" for std in (1, 2) for number in range(3)}


def test_exact_normal_costs_no_factors(problem):
    assert isinstance(dataset(problem, normal="exact")[0].normal, RestrictedNormals)


def test_step_outside_the_run_is_refused(problem):
    with pytest.raises(IndexError):
        dataset(problem)[60]


def test_store_without_training_samples_is_refused(problem, tmp_path):
    source = DataStore.open(problem.data)
    with create_store(tmp_path / "data.zarr", problem.specs, {}) as writer:
        info = SampleInfo(id="a", operator="std1", split="test", source="test")
        names = source.arrays("std1-0")
        writer.add_sample(info, {name: source.read("std1-0", name) for name in names})
    with pytest.raises(InputError, match="train"):
        PatchDataset(tmp_path / "data.zarr", problem.operators, problem.config())
