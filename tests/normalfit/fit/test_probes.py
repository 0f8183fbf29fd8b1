"""Probes: seeded one by one, finite, and matched with their responses."""

import pytest
import torch

from normalfit.errors import InputError
from normalfit.probes import ProbeSet, collect_responses, draw_probe

SHAPE = (5, 4)


def test_a_probe_does_not_depend_on_how_many_are_drawn():
    few = collect_responses(lambda w: 2 * w, SHAPE, 2, seed=7, stream="training")
    many = collect_responses(lambda w: 2 * w, SHAPE, 5, seed=7, stream="training")
    for index in range(2):
        assert torch.equal(few.probes[index], many.probes[index])
        assert torch.equal(few.responses[index], 2 * many.probes[index])


def test_probes_differ_by_seed_stream_and_index():
    base = {"seed": 1, "stream": "training", "index": 0}
    reference = draw_probe(SHAPE, **base)
    assert torch.equal(reference, draw_probe(SHAPE, **base))
    for change in ({"seed": 2}, {"stream": "held-out"}, {"index": 1}):
        other = draw_probe(SHAPE, **{**base, **change})
        assert not torch.isclose(reference, other).any()


def test_every_dtype_gets_the_same_numbers():
    single = draw_probe(SHAPE, seed=0, stream="check", index=3)
    double = draw_probe(SHAPE, seed=0, stream="check", index=3, dtype=torch.float64)
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)


def test_probes_are_standard_gaussian():
    w = draw_probe((100, 100), seed=0, stream="training", index=0)
    assert abs(float(w.mean())) < 0.04  # four standard deviations
    assert abs(float(w.square().mean()) - 1) < 0.06
    assert abs(float(w.pow(4).mean()) - 3) < 0.4


def test_response_energy_is_a_mean_per_voxel_and_probe():
    responses = [torch.full(SHAPE, 2.0), torch.full(SHAPE, 4.0)]
    assert ProbeSet([torch.ones(SHAPE)] * 2, responses).response_energy == pytest.approx(10.0)


def test_a_response_of_nothing_is_refused():
    silent = ProbeSet([torch.ones(SHAPE)], [torch.zeros(SHAPE)])
    with pytest.raises(InputError, match="respond"):
        _ = silent.response_energy


@pytest.mark.parametrize(
    ("probes", "responses", "message"),
    [
        ([], [], "at least one"),
        ([torch.ones(SHAPE)] * 2, [torch.ones(SHAPE)], "2 probes and 1 responses"),
        ([torch.ones(SHAPE)], [torch.ones(4, 5)], r"\(5, 4\), got \(4, 5\)"),
    ],
)
def test_sets_that_do_not_match_are_refused(probes, responses, message):
    with pytest.raises(InputError, match=message):
        ProbeSet(probes, responses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="finite"):
        collect_responses(lambda w: w * value, SHAPE, 1, seed=0, stream="training")


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="got -1"):
        draw_probe(SHAPE, seed=-1, stream="training", index=0)


def test_progress_counts_the_probes():
    seen = []
    collect_responses(
        lambda w: w, SHAPE, 3, seed=0, stream="held-out", progress=lambda *call: seen.append(call)
    )
    assert [call[1:3] for call in seen] == [(1, 3), (2, 3), (3, 3)]
