"""A run that is killed at any moment ends as one that nobody disturbed, bit for bit."""

import json
import multiprocessing
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from partunroll.network.checkpoint import load_checkpoint
from partunroll.training.patch_training import train
from partunroll.training.run_log import read_log

SEEDS, FEW = range(20), 2  # those of the normal run come first
KILLS = 2  # of a run
PATIENCE = 900  # seconds, for a run of one or two
RICH = {
    "steps": 8,
    "ema": 0.9,
    "accumulation": 2,
    "schedule": "linear",
    "flips": True,
    "sampling": {"foreground": 0.5},
    "checkpoints": {"every": 3, "keep_last": 2},
    "validation": {"every": 4},
    "made_objects": {"train": 2, "validation": 1},
}


@pytest.fixture(scope="module")
def processes():
    """Processes that need not import torch again; each is a real one, to be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deepinv.models", "partunroll.training.patch_training"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)  # children look where their parent does
        yield context


@pytest.fixture(scope="module")
def calls(problem):
    """Runs on given data, and on objects that are made by the run itself."""
    config = problem.config(**RICH)
    return {
        "given": partial(train, config, problem.factors, problem.data),
        "made": partial(train, config, problem.factors, None),
    }


@pytest.fixture(scope="module")
def straight(calls, processes, tmp_path_factory):
    """Undisturbed runs, and how many files they touch and how long they take in a process."""
    from killed_training import counted  # type: ignore[import-not-found]  # from sys.path

    folder, measured = tmp_path_factory.mktemp("straight"), {}
    for kind, call in calls.items():
        report = folder / f"{kind}.json"
        process = processes.Process(target=counted, args=(call, folder / kind, report))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0
        measured[kind] = json.loads(report.read_text())
    return folder, measured


def killed_after(processes, call, output, resume, seconds):
    process = processes.Process(target=call, args=(output,), kwargs={"resume": resume})
    process.start()
    process.join(seconds)
    process.kill()  # SIGKILL
    process.join()
    return process.exitcode


def contents(folder):
    """All that a run leaves, with tensors as numbers; without the times in its log."""
    lines = [
        {k: v for k, v in x.items() if "seconds" not in k} for x in read_log(folder / "log.jsonl")
    ]
    names = {path.name for path in folder.iterdir()}
    checkpoints = {
        path.name: numbers(load_checkpoint(path).__dict__) for path in sorted(folder.glob("*.pt"))
    }
    return lines, names, checkpoints


def numbers(value):
    if hasattr(value, "tolist"):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {str(key): numbers(inner) for key, inner in value.items()}
    return [numbers(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=[pytest.mark.slow] if s >= FEW else []) for s in SEEDS]
)
def test_killed_run_equals_the_undisturbed_one(calls, straight, processes, tmp_path, seed):
    """Killed before a file is touched, or at any time; with given data, or objects of its own."""
    from killed_training import killed_at_file

    rng, output = random.Random(seed), tmp_path / "run"  # noqa: S311 - moments, no secrets
    kind = ("given", "made")[seed % 2]
    folder, measured = straight
    touched, seconds = measured[kind]
    died = []
    for _ in range(KILLS):
        share, resume = rng.uniform(0, 1), output.exists()
        if seed % 4 < 2:
            number = 1 + int(share * touched)
            arguments = (calls[kind], output, resume, number)
            process = processes.Process(target=killed_at_file, args=arguments)
            process.start()
            process.join(PATIENCE)
            died.append(process.exitcode)
        else:
            call = calls[kind]
            died.append(killed_after(processes, call, output, resume, share * seconds))
        if died[-1] == 0:
            break
    assert set(died) <= {0, -signal.SIGKILL}
    assert -signal.SIGKILL in died or seed % 4 >= 2  # others may be done before their time
    assert calls[kind](output, resume=output.exists()).step == RICH["steps"]
    found, wanted = contents(output), contents(folder / kind)
    for one, other in zip(found, wanted, strict=True):
        assert one == other
    hidden = [path.name for path in tmp_path.iterdir() if path != output]
    assert not hidden or all(name.startswith(".normalfit-") for name in hidden)
