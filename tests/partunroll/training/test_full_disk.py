"""A disk that is full costs the steps since the last checkpoint, and says which file it was."""

import errno
import resource
from contextlib import contextmanager

import pytest
import torch

from partunroll.network.checkpoint import load_checkpoint
from partunroll.training.run_log import RunLog, read_log


@contextmanager
def largest_file(num_bytes):
    """Refuse to write more than so many bytes to a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_checkpoint_that_has_no_room_leaves_the_last_one_and_resumes(problem, short, stopped):
    before = (stopped / "last.pt").read_bytes()
    with largest_file(len(before) // 2), pytest.raises(OSError, match=r"large.*last\.pt") as error:
        problem.resume(stopped)
    assert error.value.errno == errno.EFBIG
    assert (stopped / "last.pt").read_bytes() == before
    assert not list(stopped.glob("*.partial"))
    problem.resume(stopped)
    weights = [load_checkpoint(f / "last.pt").weights for f in (stopped, short / "straight")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[1])


def test_log_that_has_no_room_names_itself_and_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    log.write(1, loss=0.5)
    with largest_file(path.stat().st_size + 5), pytest.raises(OSError, match=r"log\.jsonl"), log:
        log.write(2, loss=0.25)
    assert [line["step"] for line in read_log(path)] == [1]


def test_spoilt_lines_cost_no_others(tmp_path):
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        for step in range(1, 5):
            log.write(step, loss=1.0)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"\0" * 30 + b"\xff", *lines[2:]]))
    with RunLog(path, 4):
        pass
    assert [line["step"] for line in read_log(path)] == [1, 3, 4]


def test_figures_that_are_not_finite_are_null_in_the_log(tmp_path):
    with RunLog(tmp_path / "log.jsonl") as log:
        log.write(1, validation={"psnr": float("nan")}, step_sizes=[float("inf"), 1.0])
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line == {"step": 1, "validation": {"psnr": None}, "step_sizes": [None, 1.0]}
