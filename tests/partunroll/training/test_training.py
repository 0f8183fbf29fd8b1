"""A training run learns, and leaves what it did."""

from typing import Any

import pytest
import torch

from partunroll.configuration.train_config import load_config
from partunroll.network.checkpoint import load_checkpoint
from partunroll.network.networks import UnrolledNetwork
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train
from partunroll.training.run_log import RunLog, read_log

SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}


def weights(output, name="last.pt"):
    return load_checkpoint(output / name).weights


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("normal", ["factors", "exact"])
def test_training_improves_on_the_initial_estimate(problem, tmp_path, normal):
    values = {"learning_rate": 1e-2, "normal": normal, "patch_shape": [16, 16]}
    values["network"] = {"iterations": 2, "prior": {"widths": [4, 4, 4, 4]}}
    result = problem.run(tmp_path / "run", **values)
    assert result.best["psnr"] > result.best["psnr_initial"] + 1


def test_validated_stages_are_those_configured(problem, tmp_path):
    one, two = (
        problem.run(tmp_path / str(stages), steps=3, validation={"every": 3, "stages": stages})
        for stages in (1, 2)
    )
    assert equal(weights(one.output), weights(two.output))
    assert one.best["psnr_initial"] == two.best["psnr_initial"]
    assert one.best["psnr"] != two.best["psnr"]


def test_post_processing_trains_by_the_same_call(problem, tmp_path):
    network = {"kind": "post_processing", "prior": {"widths": [2, 2, 2, 2]}}
    result = problem.run(tmp_path / "run", network=network, steps=5)
    assert load_checkpoint(result.output / "best.pt").network.kind == "post_processing"
    assert all(line["step_sizes"] == [0] for line in steps_of(result.output))


def steps_of(output):
    return [line for line in read_log(output / "log.jsonl") if "loss" in line]


def test_learning_rate_rises_over_the_warmup_and_follows_a_cosine(finished):
    rates = [line["learning_rate"] for line in steps_of(finished.output)]
    assert len(rates) == 60
    assert rates[0] == pytest.approx(1e-3 / 20)
    assert rates[9] < rates[18] < 1e-3
    assert rates[30] == pytest.approx(0.5e-3)
    assert 0 < rates[-1] < 1e-5


def test_step_sizes_are_learned_and_logged(finished):
    sizes = [line["step_sizes"] for line in steps_of(finished.output)]
    assert all(len(line) == 2 and min(line) > 0 for line in sizes)
    assert sizes[0] != sizes[-1]


def test_log_holds_a_document_per_step_and_per_validation(finished):
    lines = read_log(finished.output / "log.jsonl")
    validations = [line["step"] for line in lines if "validation" in line]
    assert validations == [20, 40, 60]
    expected = {"step", "loss", "learning_rate", "gradient_norm", "step_sizes", "operator"}
    assert all(expected <= line.keys() for line in lines if "loss" in line)
    assert [line["step"] for line in steps_of(finished.output)] == list(range(1, 61))


def test_validation_reports_every_operator(finished):
    line = next(x for x in read_log(finished.output / "log.jsonl") if "validation" in x)
    each = [line["validation"][f"psnr_std{std}"] for std in (1, 2)]
    assert line["validation"]["psnr"] == pytest.approx(sum(each) / 2)


def test_checkpoint_says_what_it_was_trained_with(problem, finished):
    best = load_checkpoint(finished.output / "best.pt")
    assert [o.name for o in best.operators] == ["std1", "std2"]
    assert [o.fingerprint for o in best.operators] == [
        spec.fingerprint for spec in problem.specs.values()
    ]
    assert {o.norm for o in best.operators} == {0.9}
    assert {(o.initial_method, o.initial_window) for o in best.operators} == {
        ("least-squares", None)
    }
    assert best.normal == "factors"
    assert best.patch_shape == (12, 9)
    assert best.step == best.metrics["step"] == finished.best["step"]
    assert {"torch", "normalfit", "partunroll"} <= best.versions.keys()
    assert isinstance(best.build_network(), UnrolledNetwork)


def test_best_checkpoint_is_that_of_the_highest_psnr(finished):
    lines = [x for x in read_log(finished.output / "log.jsonl") if "validation" in x]
    best = max(lines, key=lambda line: line["validation"]["psnr"])
    assert load_checkpoint(finished.output / "best.pt").step == best["step"]


def test_saved_config_is_resolved_and_loads(problem, finished):
    path = finished.output / "config.yaml"
    assert load_config(path) == problem.config(validation={"every": 20})
    assert "torch" in path.read_text().splitlines()[0]


def test_no_partial_files_are_left(finished):
    assert sorted(path.name for path in finished.output.iterdir()) == [
        "best.pt",
        "config.yaml",
        "last.pt",
        "log.jsonl",
        "provenance.json",
        "step-00000020.pt",
        "step-00000040.pt",
    ]


def test_made_objects_are_simulated_with_the_stored_operator(problem, tmp_path):
    made = {"train": 3, "validation": 1, "seed": 5, "relative_noise": 0.05}
    config = problem.config(steps=3, made_objects=made)
    train(config, problem.factors[:1], None, tmp_path / "run")
    store = DataStore.open(tmp_path / "run" / "data.zarr")
    assert store.fingerprints == {"std1": problem.specs["std1"].fingerprint}
    assert [sample.split for sample in store.samples] == ["train"] * 3 + ["validation"]
    noise = {"kind": "relative", "level": 0.05}
    assert all(sample.noise == noise for sample in store.samples)


def test_resumed_run_keeps_its_made_objects(problem, tmp_path):
    config = problem.config(steps=6, made_objects={"train": 2, "validation": 1})
    train(config, problem.factors[:1], None, tmp_path / "straight")
    train(config, problem.factors[:1], None, tmp_path / "run", stop_after=3)
    train(config, problem.factors[:1], None, tmp_path / "run", resume=True)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "straight"))


def test_gradients_are_clipped(problem, short, tmp_path):
    unclipped = problem.run(tmp_path / "unclipped", **SHORT, gradient_clip=None)
    assert max(line["gradient_norm"] for line in steps_of(unclipped.output)) > 3e-3
    assert not equal(weights(unclipped.output), weights(short / "straight"))


def test_log_keeps_the_steps_before_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        for step in range(1, 6):
            log.write(step, loss=step / 2)
    with RunLog(path, 3) as log:
        log.write(4, loss=0.0)
    assert [line["step"] for line in read_log(path)] == [1, 2, 3, 4]
    assert read_log(path)[-1]["loss"] == 0
