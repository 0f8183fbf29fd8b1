"""Training repeats and resumes bit for bit, also after it was killed."""

import shutil
from typing import Any

import torch

from normalfit.fit_to_file import fit_to_file
from normalfit.specs import spec_from_document
from partunroll.configuration.train_config import TrainConfig
from partunroll.network.checkpoint import load_checkpoint
from partunroll.training.patch_training import train
from partunroll.training.run_log import RunLog, read_log

SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}


def weights(output, name="last.pt"):
    return load_checkpoint(output / name).weights


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def timeless_log(output):
    lines = read_log(output / "log.jsonl")
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def test_same_seed_gives_the_same_weights_bit_for_bit(problem, finished, tmp_path):
    torch.manual_seed(1234)  # the global generator plays no part
    again = problem.run(tmp_path / "again")
    assert equal(weights(again.output), weights(finished.output))
    assert timeless_log(again.output) == timeless_log(finished.output)


def test_30_and_30_steps_are_60_steps(problem, finished, tmp_path):
    half = problem.run(tmp_path / "run", stop_after=30)
    assert (half.step, half.stop_reason) == (30, "stop_after")
    resumed = problem.run(tmp_path / "run", resume=True)
    assert (resumed.step, resumed.stop_reason) == (60, "finished")
    for name in ("last.pt", "best.pt"):
        assert equal(weights(resumed.output, name), weights(finished.output, name))
    assert timeless_log(resumed.output) == timeless_log(finished.output)
    assert resumed.best == finished.best


def test_another_seed_gives_other_weights(problem, short, tmp_path):
    other = problem.run(tmp_path / "other", **SHORT, seed=1)
    assert not equal(weights(other.output), weights(short / "straight"))


def test_run_that_was_killed_repeats_the_steps_after_its_checkpoint(problem, short, stopped):
    with RunLog(stopped / "log.jsonl", 4) as log:
        log.write(5, loss=1.0)
    with (stopped / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # cut off while it was written
    problem.resume(stopped)
    assert timeless_log(stopped) == timeless_log(short / "straight")


def test_run_that_was_killed_before_its_first_checkpoint_starts_again(problem, short, stopped):
    (stopped / "last.pt").unlink()
    problem.resume(stopped)
    assert equal(weights(stopped), weights(short / "straight"))


def test_volumes_in_batches_of_one_repeat_and_resume_bit_for_bit(tmp_path):
    document = {"kind": "deconvolution", "volume_shape": [9, 10, 11], "gaussian_std_voxels": 0.8}
    factors = tmp_path / "factors.zarr"
    fit_to_file(spec_from_document(document, {}), factors, probes=2)
    network = {"iterations": 2, "prior": {"widths": [2, 2, 2, 2]}}
    values = {"network": network, "patch_shape": 8, "batch": 1, "steps": 4, "device": "cpu"}
    made = {"train": 2, "validation": 1}
    config = TrainConfig.model_validate({**values, "made_objects": made})
    train(config, [factors], None, tmp_path / "straight")
    train(config, [factors], None, tmp_path / "run", stop_after=2)
    train(config, [factors], None, tmp_path / "run", resume=True)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "straight"))


def test_workers_change_nothing(problem, tmp_path):
    straight = problem.run(tmp_path / "straight", steps=3)
    workers = problem.run(tmp_path / "workers", steps=3, num_workers=1)
    assert equal(weights(workers.output), weights(straight.output))


def test_resumed_run_without_a_config_keeps_its_own(problem, short, stopped):
    train(None, problem.factors, problem.data, stopped, resume=True)
    assert equal(weights(stopped), weights(short / "straight"))


def test_resuming_a_finished_run_takes_no_step(problem, short, tmp_path):
    shutil.copytree(short / "straight", tmp_path / "run")
    result = problem.resume(tmp_path / "run")
    assert (result.step, result.loss) == (8, None)
    assert equal(weights(result.output), weights(short / "straight"))


def test_no_step_is_a_stop_after_as_good_as_any(problem, short, tmp_path):
    assert problem.run(tmp_path / "run", **SHORT, stop_after=0).step == 0
    problem.resume(tmp_path / "run")
    assert equal(weights(tmp_path / "run"), weights(short / "straight"))


def test_everything_at_once_resumes_bit_for_bit(problem, tmp_path):
    """Accumulation, averages, fp16, schedule, several operators, augmentation, no cache."""
    values = {
        **SHORT,
        "accumulation": 2,
        "ema": 0.9,
        "precision": "fp16",
        "cache": False,
        "flips": True,
        "rotations": True,
        "patch_shape": [9, 9],
        "batch": 3,
        "schedule": {"kind": "step", "every": 2},
        "sampling": {"foreground": 0.5},
    }
    straight = problem.run(tmp_path / "straight", **values)
    for stop in (1, 3, 5):
        problem.run(tmp_path / "run", **values, resume=stop > 1, stop_after=stop)
    problem.run(tmp_path / "run", **values, resume=True)
    kept = [load_checkpoint(run / "last.pt") for run in (straight.output, tmp_path / "run")]
    assert equal(*(checkpoint.weights for checkpoint in kept))
    assert kept[0].training["scaler"] == kept[1].training["scaler"]
    assert equal(*(checkpoint.training["average"]["weights"] for checkpoint in kept))
    assert timeless_log(straight.output) == timeless_log(tmp_path / "run")
