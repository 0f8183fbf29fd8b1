"""The plan says what a training takes, changes nothing of it, and refuses what cannot fit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from partunroll.configuration.train_config import TrainConfig
from partunroll.errors import InputError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.networks import build_network
from partunroll.training.memory_knobs import remedy
from partunroll.training.patch_training import train
from partunroll.training.planned_run import planned_run
from partunroll.training.run_log import read_log
from partunroll.training.step_memory import step_memory

SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}
GB = 10**9


def plan_of(problem, output, **values):
    return planned_run(problem.config(**values), problem.factors, problem.data, output)


def free(monkeypatch, num_bytes):
    monkeypatch.setattr("partunroll.training.plan_measurement.free_bytes", lambda device: num_bytes)


def timeless_log(output):
    lines = read_log(output / "log.jsonl")
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def test_measuring_a_step_changes_nothing_of_the_training(problem, short, stopped, tmp_path):
    plans: list[Any] = []
    config, files = problem.config(**SHORT), (problem.factors, problem.data)
    train(config, *files, tmp_path / "fresh", on_plan=plans.append)
    train(config, *files, stopped, resume=True, on_plan=plans.append)
    assert [plan.steps_left for plan in plans] == [8, 4]
    straight = load_checkpoint(short / "straight" / "last.pt")
    for run in (tmp_path / "fresh", stopped):
        weights = load_checkpoint(run / "last.pt").weights
        assert all(torch.equal(weights[k], w) for k, w in straight.weights.items())
        assert timeless_log(run) == timeless_log(short / "straight")


def test_plan_counts_the_network_and_measures_the_step(problem, tmp_path, finished):
    plan = plan_of(problem, tmp_path / "run")
    weights = load_checkpoint(finished.output / "best.pt").weights
    assert plan.parameters == sum(weight.numel() for weight in weights.values())
    assert (plan.gradients, plan.optimizer) == (plan.weights, 2 * plan.weights)
    assert plan.weights == 4 * plan.parameters
    double = plan_of(problem, tmp_path / "run", batch=4)
    assert double.activations == pytest.approx(2 * plan.activations, rel=0.1)
    network = {"iterations": 4, "prior": {"widths": [2, 2, 2, 2]}}
    longer = plan_of(problem, tmp_path / "run", network=network)
    assert longer.activations == pytest.approx(2 * plan.activations, rel=0.1)
    assert plan.seconds_per_step == pytest.approx(plan.step_seconds + plan.data_seconds)
    assert plan.seconds_left == 60 * plan.seconds_per_step
    assert plan.total == sum(plan._parts.values())
    assert not (tmp_path / "run").exists()


def test_plan_counts_averaged_weights_and_accumulated_batches(problem, tmp_path):
    plain = plan_of(problem, tmp_path / "run")
    plan = plan_of(problem, tmp_path / "run", ema=0.9, accumulation=3)
    assert (plain.average, plan.average) == (0, plan.weights)
    assert plan.held >= 2 * plan.weights
    assert plan.activations == pytest.approx(plain.activations, rel=0.1)
    assert "6 patches of 12 × 9" in str(plan)


def test_measuring_leaves_the_random_numbers_alone(problem, tmp_path):
    before = torch.get_rng_state()
    plan_of(problem, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_plan_reads_as_a_person_wants_it(problem, tmp_path):
    text = str(plan_of(problem, tmp_path / "run"))
    for part in ("parameters", "2 patches of 12 × 9", "60 steps, on cpu", "activations", "free"):
        assert part in text
    assert "steps per second" in text


def test_made_objects_are_planned_for_without_leaving_any(problem, tmp_path):
    config = problem.config(made_objects={"train": 300, "validation": 2})
    plan = planned_run(config, problem.factors[:1], None, tmp_path / "run")
    assert plan.fits
    assert list(tmp_path.iterdir()) == []


def test_plan_of_a_resumed_run_counts_what_is_there_already(problem, stopped):
    plan = planned_run(None, problem.factors, problem.data, stopped, resume=True)
    assert plan.steps_left == 4
    assert plan.held >= plan.weights + plan.optimizer


def test_training_that_cannot_fit_is_refused_and_leaves_nothing(problem, tmp_path, monkeypatch):
    free(monkeypatch, 30_000)
    config = problem.config(**SHORT)
    with pytest.raises(InputError, match=r"at least .* got 30 kB besides .* on cpu; .*lower") as e:
        train(config, problem.factors, problem.data, tmp_path / "run", on_plan=lambda plan: None)
    for knob in ("checkpointing: true", "batch 2", "network.prior.widths", "network.iterations 2"):
        assert knob in str(e.value)
    assert "patch_shape" not in str(e.value).split(";")[-1]  # the prior pads to 32 voxels
    assert not (tmp_path / "run").exists()


def test_training_that_just_does_not_fit_is_refused(problem, tmp_path, monkeypatch):
    monkeypatch.setattr("partunroll.memory_size._peak_bytes", lambda: 0)  # it varies
    needed = plan_of(problem, tmp_path / "run")
    enough = needed.missing * 2
    free(monkeypatch, enough)
    assert plan_of(problem, tmp_path / "run").fits
    free(monkeypatch, needed.missing * 8 // 10)
    assert not plan_of(problem, tmp_path / "run").fits


@pytest.mark.parametrize(
    ("largest", "remedy"),
    [
        ({"weights": 9 * GB}, r"lower network\.prior\.widths \[2, 2, 2, 2\]"),
        ({"data": 9 * GB}, "; set cache: false$"),
        ({"activations": 9 * GB}, "set checkpointing: true, or lower batch 2"),
    ],
)
def test_remedy_is_for_what_takes_most(problem, tmp_path, largest, remedy):
    plan = plan_of(problem, tmp_path / "run")
    with pytest.raises(InputError, match=remedy):
        replace(plan, **largest, free=GB).check()
    assert replace(plan, free=None).problem is None  # nobody knows how much there is


def test_processes_on_a_machine_share_its_memory(problem, tmp_path):
    plan = replace(plan_of(problem, tmp_path / "run"), activations=GB, local_processes=3)
    assert plan.missing > 3 * GB
    assert replace(plan, device="cuda:1").missing < 2 * GB


def test_time_with_workers_is_the_longer_of_both(problem, tmp_path):
    plan = plan_of(problem, tmp_path / "run")
    workers = problem.config(num_workers=2)
    plan = replace(plan, config=workers, step_seconds=1.0, data_seconds=3.0)
    assert plan.seconds_per_step == 1.5


def activations_of(values, device="cpu"):
    """Bytes that a step of a network on a batch takes at its peak, tensors alone."""
    config = TrainConfig.model_validate(values).resolved((40, 40, 40))
    network = build_network(config.network)
    network.checkpointing = config.checkpointing
    x = torch.zeros(config.batch, *config.patch_shape)
    found = step_memory(lambda: network(x, x, lambda z: z).sum().backward(), network)
    return found.peak


SMALL: dict[str, Any] = {
    "network": {"iterations": 2, "prior": {"widths": [4, 4, 4, 4], "blocks": 2}},
    "patch_shape": [40, 8, 8],
    "batch": 4,
}


def test_every_knob_that_is_named_makes_the_activations_less():
    changes: dict[str, dict[str, Any]] = {
        "checkpointing": {"checkpointing": True},
        "batch": {"batch": 2},
        "patch_shape": {"patch_shape": [32, 8, 8]},
        "network.prior.widths": {
            "network": {"iterations": 2, "prior": {"widths": [2] * 4, "blocks": 2}}
        },
        "network.prior.blocks": {"network": {"iterations": 2, "prior": {"widths": [4] * 4}}},
        "network.iterations": {"network": {**SMALL["network"], "iterations": 1}},
    }
    told = remedy("activations", TrainConfig.model_validate(SMALL).resolved((40, 40, 40)), "cpu")
    before = activations_of(SMALL)
    for key, change in changes.items():
        assert f"{key} " in told or f"{key}:" in told
        assert activations_of({**SMALL, **change}) < 0.95 * before


@pytest.mark.parametrize(
    ("values", "device", "named"),
    [
        ({"batch": 2}, "cpu", False),  # a lone volume is taken twice there
        ({"batch": 2}, "cuda", True),
        ({"batch": 1}, "cuda", False),
        ({"batch": 3}, "cpu", True),
    ],
)
def test_a_batch_that_cannot_be_less_is_not_named(values, device, named):
    config = TrainConfig.model_validate({"patch_shape": 16, **values}).resolved((40, 40, 40))
    assert ("batch" in remedy("activations", config, device)) == named
    if device == "cpu" and values["batch"] == 2:
        halves = [activations_of({**SMALL, "batch": batch}) for batch in (1, 2)]
        assert halves[0] > 0.95 * halves[1]


def test_nothing_is_named_where_nothing_helps():
    config = TrainConfig.model_validate({"cache": False}).resolved((40, 40, 40))
    assert remedy("data", config, "cpu") == "take smaller volumes, or a machine with more memory"
    averaged = TrainConfig.model_validate({"ema": 0.9}).resolved((40, 40, 40))
    assert remedy("network", averaged, "cpu").startswith("leave out ema, or lower network.prior.w")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"network": {"prior": {"widths": [40_000] * 4}}},
            r"for the network, .*lower network\.prior",
        ),
        ({"batch": 10**9}, r"for the batch, which takes .* GiB, got .*; lower batch"),
    ],
)
def test_what_cannot_fit_for_certain_is_refused_before_it_is_made(
    problem, tmp_path, values, message
):
    config = TrainConfig.model_validate({"patch_shape": [12, 9], "device": "cpu", **values})
    for call in (train, planned_run):
        with pytest.raises(InputError, match=message):
            call(config.resolved((20, 22)), problem.factors, problem.data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
