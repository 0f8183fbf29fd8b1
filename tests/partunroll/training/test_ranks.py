"""Processes that train together: who does what, and that their number changes nothing."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from partunroll.errors import InputError, LostRankError, RankError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.ranks import Ranks, lost_ranks_named, present_ranks
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.run_log import read_log

STEPS = 6
VALUES: dict[str, Any] = {
    "steps": STEPS,
    "batch": 4,
    "validation": {"every": 3},
    "learning_rate": 1e-2,
}
VALUES |= {"accumulation": 2, "ema": 0.9}
RUN_FILES = {"best.pt", "config.yaml", "last.pt", "log.jsonl", "provenance.json"}

# a run of two processes by the library, stopped, and gone on with by the command
SCRIPT = """
import os, runpy, shutil, sys
from pathlib import Path
from partunroll.configuration.train_config import load_config
from partunroll.training.patch_training import train
if __name__ == "__main__":
    config, data, output, *factors = sys.argv[1:]
    files = [Path(path) for path in factors]
    train(load_config(Path(config)), files, Path(data), Path(output), stop_after=2)
    if os.environ["RANK"] == "0":
        shutil.copytree(output, output + "-stopped")
    sys.argv = ["partunroll", "train", "--factors", *factors, "--data", data, "-o", output]
    sys.argv.append("--resume")
    runpy.run_module("partunroll", run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def torchrun(problem, tmp_path_factory):
    """Two processes, started first: the tests that need none run meanwhile."""
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "script.py").write_text(SCRIPT)
    config = problem.config(**VALUES).model_dump(mode="json")
    (folder / "train.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        *[folder / "script.py", folder / "train.yaml", problem.data, folder / "run"],
        *problem.factors,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    arguments = list(map(str, command))
    with subprocess.Popen(arguments, env=environment, **pipes) as process:  # noqa: S603 - ours
        yield process, folder
        process.kill()


@pytest.fixture(scope="module")
def alone(problem, tmp_path_factory):
    return problem.run(tmp_path_factory.mktemp("alone") / "run", **VALUES)


def test_shares_cover_the_batch_in_order():
    parts = [list(range(6))[Ranks(rank, 3).share(6)] for rank in range(3)]
    assert parts == [[0, 1], [2, 3], [4, 5]]


def test_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(InputError, match=r"divisible by the number of processes, 4, got 6"):
        Ranks(0, 4).share(6)


def test_one_process_needs_no_group():
    ranks = Ranks()
    assert ranks.is_first
    assert ranks.mean(0.1) == 0.1
    assert ranks.any(True)
    assert not ranks.any(False)
    assert ranks.joined([1, 2]) == [1, 2]
    assert ranks.from_first(lambda: 7) == 7
    network = torch.nn.Linear(2, 2)
    assert ranks.parallel(network) is network


def test_torchrun_says_which_process_this_is(monkeypatch):
    assert present_ranks() == Ranks()
    values = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}
    for name, value in {**values, "MASTER_ADDR": "host", "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    assert present_ranks() == Ranks(5, 8, 1, 4)


def test_collective_that_fails_is_another_process_that_is_lost():
    broken = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:9")
    lost = LostRankError("all processes must stay, got closed by peer; see, and start again")
    message = r"all processes must stay, got .*closed by peer.* go on with --resume"
    for error in (broken, lost):
        with pytest.raises(RankError, match=message), lost_ranks_named(Ranks(0, 2)):
            raise error
    for ranks, error in ((Ranks(), broken), (Ranks(0, 2), RuntimeError("shape"))):
        with pytest.raises(RuntimeError) as raised, lost_ranks_named(ranks):
            raise error
        assert raised.value is error


@pytest.mark.parametrize("flips", [False, True])
def test_parts_of_a_batch_are_the_batch(problem, flips):
    config = problem.config(batch=4, flips=flips)
    arguments = (problem.data, problem.operators, config)
    whole = PatchDataset(*arguments)
    parts = [PatchDataset(*arguments, ranks=Ranks(rank, 2)) for rank in range(2)]
    for step in range(3):
        batch, pieces = whole[step], [part[step] for part in parts]
        assert {piece.operator for piece in pieces} == {batch.operator}
        assert sum((piece.patches for piece in pieces), ()) == batch.patches
        for name in ("initial_estimate", "truth", "initial_gradient"):
            joined = torch.cat([getattr(piece, name) for piece in pieces])
            assert torch.equal(joined, getattr(batch, name))
        x = torch.rand(batch.truth.shape, generator=torch.Generator().manual_seed(step))
        applied = torch.cat([piece.normal(x[2 * i : 2 * i + 2]) for i, piece in enumerate(pieces)])
        torch.testing.assert_close(applied, batch.normal(x))


def started(rank, port, arguments):
    """Start one of two processes by hand: nothing watches over them, as torchrun would."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
    command = [sys.executable, "-m", "partunroll", "train", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)  # noqa: S603 - ours


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_process_that_is_killed_ends_the_other_with_one_line(problem, tmp_path, victim):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run, config = tmp_path / "run", tmp_path / "train.yaml"
    values = {**VALUES, "steps": 500, "checkpoints": {"every": 2}, "validation": {"every": 500}}
    config.write_text(json.dumps(problem.config(**values).model_dump(mode="json")))
    factors = [part for path in problem.factors for part in ("--factors", path)]
    arguments = [*factors, "--data", problem.data, "--config", config, "-o", run]
    processes = [started(rank, port, arguments) for rank in range(2)]
    try:
        while not (run / "step-00000002.pt").exists():
            assert [process.poll() for process in processes] == [None, None]
            time.sleep(0.05)
        processes[victim].kill()
        _, errors = processes[1 - victim].communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1 - victim].returncode == 2
    lines = [line for line in errors.splitlines() if not line.startswith("[W")]  # torch's warnings
    assert len(lines) == (1 if victim == 1 else 0), errors  # the first speaks for all
    assert all(line.startswith("error: all processes must stay") for line in lines)
    assert load_checkpoint(run / "last.pt").step >= 2


def losses(run: Path):
    return [line["loss"] for line in read_log(run / "log.jsonl") if "loss" in line]


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_goes_on_where_they_stopped(problem, alone, torchrun):
    process, folder = torchrun
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    run = folder / "run"
    assert out.count("6 of 6 steps") == 1  # one of them speaks
    assert out.count("plan: ") == 1
    assert "by 2 processes" in out
    assert losses(run) == pytest.approx(losses(alone.output), rel=1e-4)
    assert len(set(losses(run))) == STEPS
    assert losses(run) != losses(alone.output)  # they did divide the batch: it rounds otherwise
    names = {path.name for path in run.iterdir()}
    assert names == RUN_FILES | {"step-00000002.pt", "step-00000003.pt"}
    assert len(json.loads((run / "provenance.json").read_text())) == 2
    lines = [line["step"] for line in read_log(run / "log.jsonl") if "validation" in line]
    assert lines == [3, 6]
    two, one = (load_checkpoint(path / "last.pt") for path in (run, alone.output))
    assert two.metrics["psnr"] == pytest.approx(one.metrics["psnr"], abs=1e-3)
    for name, weight in one.weights.items():
        torch.testing.assert_close(two.weights[name], weight, rtol=1e-3, atol=1e-4)
    # what two processes saved, one resumes
    stopped = folder / "run-stopped"
    assert len(losses(stopped)) == 2
    assert problem.run(stopped, resume=True, **VALUES).step == STEPS
    assert losses(stopped) == pytest.approx(losses(alone.output), rel=1e-4)


@pytest.mark.slow
def test_what_one_process_saved_two_resume(problem, alone, tmp_path):
    run = tmp_path / "run"
    problem.run(run, stop_after=2, **VALUES)
    assert len(losses(run)) == 2
    factors = [part for path in problem.factors for part in ("--factors", path)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "partunroll", "train", *factors]
    command += ["--data", problem.data, "-o", run, "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(list(map(str, command)), env=environment, **pipes)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "by 2 processes" in done.stdout
    assert losses(run) == pytest.approx(losses(alone.output), rel=1e-4)
    assert losses(run)[:2] == losses(alone.output)[:2]
    assert losses(run)[2:] != losses(alone.output)[2:]  # they did divide the batch
