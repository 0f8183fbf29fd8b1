"""A run that is killed again and again ends as one that nobody disturbed, bit for bit."""

import multiprocessing
import random
import time
from functools import partial

import pytest
import torch

from partunroll.network.checkpoint import load_checkpoint
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log

STEPS, KILLS = 24, 6


@pytest.fixture(scope="module")
def processes():
    """Processes that need not import torch again; each is a real one, to be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deepinv.models", "partunroll.training.patch_training"])
    return context


def steps_in(log):
    return max((line["step"] for line in read_log(log)), default=0) if log.exists() else 0


def kill_between_steps(process, log, wanted, rng):
    """Kill a process some time after it has logged a step."""
    while process.is_alive() and steps_in(log) < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()  # SIGKILL
    process.join()


def timeless(log):
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in read_log(log)]


@pytest.mark.slow
def test_killed_run_equals_the_undisturbed_one(problem, tmp_path, processes):
    values = {"ema": 0.9, "accumulation": 2, "checkpoints": {"every": 3}}
    config = problem.config(steps=STEPS, validation={"every": 6}, **values)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(config, problem.factors, problem.data, straight)
    rng, log = random.Random(7), killed / "log.jsonl"  # noqa: S311 - moments, no secrets
    call = partial(train, config, problem.factors, problem.data, killed)
    moments = sorted(rng.sample(range(STEPS + 1), KILLS))
    for wanted in moments:
        process = processes.Process(target=call, kwargs={"resume": killed.exists()})
        process.start()
        kill_between_steps(process, log, wanted, rng)
    assert call(resume=killed.exists()).step == STEPS
    for name in ("last.pt", "best.pt"):
        one, other = (load_checkpoint(folder / name) for folder in (straight, killed))
        assert one.weights.keys() == other.weights.keys()
        assert all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights)
        assert (one.step, one.metrics) == (other.step, other.metrics)
    assert timeless(straight / "log.jsonl") == timeless(log)
    names = [{path.name for path in folder.iterdir()} for folder in (straight, killed)]
    assert names[0] == names[1]
