"""Every benchmark of large volumes runs, ends in its claim, and writes JSON and a picture."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAME = "test_arrays_of_a_volumes_size_are_found_wherever_they_are"


def run(name, *arguments):
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data_step_is_free", "memory_stays_flat", "paper_step_on_gpu"])
def test_it_runs_and_ends_in_its_claim(name, tmp_path):
    done = run(name, "--quick", "--output", str(tmp_path / name))
    assert done.returncode in (0, 1), done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("claim fails: " if done.returncode else "claim holds: ")
    assert json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_a_reconstruction_stays_within_its_memory(tmp_path):
    done = run("reconstruct_512", "--size", "128", "--output", str(tmp_path / "large"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "volumes on disk; peak" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("claim holds: 128³ is reconstructed")
    assert json.loads((tmp_path / "large.json").read_text(encoding="utf-8"))["held"]
    assert (tmp_path / "large.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_papers_step_is_refused_without_a_gpu(tmp_path):
    done = run("paper_step_on_gpu", "--output", str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: device must be a GPU, got the CPU")
    assert not list(tmp_path.iterdir())


def test_arrays_of_a_volumes_size_are_found_wherever_they_are(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    volume_arrays = importlib.import_module("volume_arrays").volume_arrays
    shape = (7, 11, 13)
    local = np.ones((2, *shape), np.float32)
    view = local[1]
    tensor = torch.zeros(shape)
    held = {"cache": [torch.ones(1, *shape)]}
    other = np.ones((11, 13), np.float32)
    with FakeTensorMode():
        fake = torch.zeros(shape)  # as torch.export leaves them behind
    found = volume_arrays(shape)
    assert sorted(array.nbytes for array in found) == [4004, 4004, 8008]
    names = [array.name for array in found]
    assert names[:2] == [f"{name} of {NAME}" for name in ("local", "tensor")]
    assert view.shape == tensor.shape == fake.shape == shape
    assert len(held) == 1
    assert other.size
