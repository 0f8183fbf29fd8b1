"""Workers end with the training and not before; what they cannot make is said as usual."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from partunroll.errors import DataStoreError, WorkerError
from partunroll.network.checkpoint import load_checkpoint
from partunroll.training import patch_training
from partunroll.training.patch_loader import (
    _Batches,
    _stopped_by_the_parent_alone,
    dead_workers_named,
)
from partunroll.training.patch_training import train
from partunroll.training.stop_signals import StopSignals

BREAKS = "the step breaks"
SHOW_MASK = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"


def test_processes_that_are_started_as_workers_do_not_hear_the_signals():
    with StopSignals() as signals:
        with _stopped_by_the_parent_alone():
            os.kill(os.getpid(), signal.SIGTERM)
            shown = subprocess.run([sys.executable, "-c", SHOW_MASK], capture_output=True)  # noqa: S603
        assert signals.received == "SIGTERM"  # it was not lost
    assert b"SIGTERM" in shown.stdout
    assert b"SIGINT" in shown.stdout
    assert not {signal.SIGTERM, signal.SIGINT} & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_worker_hands_over_why_it_has_no_batch():
    class Broken:
        def __getitem__(self, step):
            msg = f"chunk {step} must be there"
            raise DataStoreError(msg)

    caught = _Batches(Broken())[3]
    assert isinstance(caught, DataStoreError)
    assert str(caught) == "chunk 3 must be there"


def test_dead_worker_is_named_with_what_helps(problem):
    config = problem.config(num_workers=3)
    with (
        pytest.raises(WorkerError, match=r"is killed by signal: Killed; lower num_workers 3"),
        dead_workers_named(config),
    ):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="shape"), dead_workers_named(config):
        raise RuntimeError("shape")


@pytest.mark.slow
def test_error_in_a_worker_is_that_of_the_process(problem, tmp_path):
    data = shutil.copytree(problem.data, tmp_path / "data.zarr")
    for sample in (data / "samples").glob("std*"):
        shutil.rmtree(sample / "reference" / "c")
    config = problem.config(num_workers=1, steps=4)
    with pytest.raises(DataStoreError) as error:
        train(config, problem.factors, data, tmp_path / "run")
    assert "Traceback" not in str(error.value)
    assert not (tmp_path / "run").exists()
    assert not multiprocessing.active_children()  # Python would wait for them at its end


@pytest.mark.slow
def test_workers_end_with_a_training_that_fails(problem, tmp_path, monkeypatch):
    def fail(_, own, *__):
        next(own)
        raise RuntimeError(BREAKS)

    monkeypatch.setattr(patch_training, "training_step", fail)
    with pytest.raises(RuntimeError, match=BREAKS):
        problem.run(tmp_path / "run", num_workers=1, steps=4)
    assert not multiprocessing.active_children()


SCRIPT = """
import sys
from pathlib import Path
from partunroll.configuration.train_config import load_config
from partunroll.training.patch_training import train
if __name__ == "__main__":
    config, data, output, *factors = map(Path, sys.argv[1:])
    result = train(load_config(config), factors, data, output)
    sys.stdout.write(f"{result.stop_reason} {result.step}")
"""


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_while_workers_start_saves_the_first_step(problem, tmp_path):
    """The terminal sends it to the workers, too, which are importing then."""
    (tmp_path / "script.py").write_text(SCRIPT)
    config = tmp_path / "train.yaml"
    config.write_text(problem.config(num_workers=2, steps=50).model_dump_json())
    command = [sys.executable, tmp_path / "script.py", config, problem.data, tmp_path / "run"]
    process = subprocess.Popen(  # noqa: S603 - ours
        [*map(str, command), *map(str, problem.factors)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "run" / "log.jsonl").exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    reason, step = out.split()
    assert reason == "SIGINT"
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == int(step) <= 50
