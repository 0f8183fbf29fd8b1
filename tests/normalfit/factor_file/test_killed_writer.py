"""A writer that is killed at any of its write calls leaves the old file or the new one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_writer.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("name", "overwrite", "atomic"),
    [
        ("f.zarr", True, True),
        pytest.param("f.zarr", True, False, marks=pytest.mark.slow),
        pytest.param("f.zarr", False, True, marks=pytest.mark.slow),
        pytest.param("f.zip", False, True, marks=pytest.mark.slow),
        pytest.param("f.zip", True, False, marks=pytest.mark.slow),
    ],
)
def test_old_or_new_and_never_in_between(tmp_path, name, overwrite, atomic):
    (tmp_path / "files").mkdir()
    arguments = [str(tmp_path / "files"), name, str(int(overwrite)), str(int(atomic))]
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    killed, finished = outcomes[:-1], outcomes[-1]
    assert finished == [0, 0, "new", "new"]
    assert len(killed) > 20  # write calls of the smallest file
    assert {code for code, *_ in killed} == {-signal.SIGKILL}
    assert all((looked, last) == (0, "new") for _, looked, _, last in killed)  # nothing blocks
    before = "old" if overwrite else "none"
    states = [found for _, _, found, _ in killed]
    change = states.index("new") if "new" in states else len(states)
    assert states == [before] * change + ["new"] * (len(states) - change)
