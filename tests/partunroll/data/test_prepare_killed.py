"""Preparations that SIGKILL ends at any moment, and that go on, end as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    """Start the drill; return a function that kills with a seed, and says what came of it."""
    script = Path(__file__).with_name("kill_drill.py")
    with subprocess.Popen(  # noqa: S603 - the script beside this file
        [sys.executable, script, tmp_path_factory.mktemp("drill")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout
        assert json.loads(answers.readline())["files"] > 6 * 5

        def kill(seed):
            print(seed, file=questions, flush=True)
            return json.loads(answers.readline())

        yield kill
        questions.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_preparations_end_as_undisturbed_ones(killer, seed):
    said = killer(seed)
    assert said["differing"] == []
    # a kill between the last rename and the removal of the work leaves what harms nobody
    assert len(said["left"]) <= len(said["kills"][-1]["finished"])
