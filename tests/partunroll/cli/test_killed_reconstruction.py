"""`partunroll reconstruct` killed at 20 seeded moments ends as if it had not been."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from partunroll.reconstruction.reconstruction_file import open_reconstruction

DRIVER = Path(__file__).with_name("reconstruction_drill.py")
SEEDS = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(20)]  # a minute each
VOLUMES = ("reconstruction", "stage1", "initial_estimate")


@pytest.fixture(scope="module")
def driver():
    """Return a function that runs a command, killed or not, and says how it ended."""
    with subprocess.Popen(  # noqa: S603 - the driver beside this file
        [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        jobs, answers = process.stdin, process.stdout
        assert jobs
        assert answers

        def run(**job):
            whole = {"kill_at": [None] * job["ranks"], "delay": 0} | job
            print(json.dumps(whole), file=jobs, flush=True)
            return json.loads(answers.readline())

        yield run
        jobs.close()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def undisturbed(driver, project, tmp_path_factory):
    """Return a function that gives arguments, the output of a whole run, and its events."""
    folder = tmp_path_factory.mktemp("undisturbed")
    kept: dict[tuple[bool, int], tuple[Path, list[int]]] = {}

    def run(**way):
        key = (way["on_disk"], way["ranks"])
        if key not in kept:
            output = folder / f"{len(kept)}.zarr"
            log = folder / f"{len(kept)}.log"
            ended = driver(arguments=arguments(project, output, **way), log=str(log), **way)
            assert ended["codes"] == [0] * way["ranks"], log.read_text()
            kept[key] = output, ended["events"]
        return kept[key]

    return run


def arguments(project, output, *, on_disk, **_):
    files = {
        "--checkpoint": project / "best.pt",
        "--operator": project / "op.yaml",
        "--factors": project / "factors.zarr",
        "--measurements": project / "data.zarr/samples/a/measurements",
        "-o": output,
    }
    options = ["--patch", "8", "--batch", "4", "--normal", "factors", "--intensity-per-mm", "auto"]
    # more than this process holds: it counts, with what it held before
    memory = ["--max-memory", "64G"] if on_disk else []
    return [
        "reconstruct",
        *(str(part) for item in files.items() for part in item),
        *options,
        *memory,
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_kill_the_volumes_are_those_of_an_undisturbed_run(
    seed, driver, undisturbed, project, tmp_path
):
    """Killed twice, by turns in memory and on disk, alone and in pairs; nothing is deleted."""
    rng = random.Random(seed)  # noqa: S311 - seeded on purpose
    way = {"on_disk": seed % 2 == 0, "ranks": 1 + seed // 2 % 2}
    whole, events = undisturbed(**way)
    output, log = tmp_path / "recon.zarr", tmp_path / "log"
    common = {"arguments": arguments(project, output, **way), "log": str(log), **way}
    for kill in range(2):
        victims, part = rng.choice([[0], [way["ranks"] - 1], [0, 1]]), rng.random()
        moments = [
            1 + int(part * met) if rank in victims else None for rank, met in enumerate(events)
        ]
        ended = driver(**common, kill_at=moments, delay=rng.random() * 0.02)
        if kill == 0:
            assert -9 in ended["codes"], log.read_text()
        assert set(ended["codes"]) <= {-9, -15, 2, 0}, log.read_text()
        if output.exists():
            break
    ended = driver(**common)
    finished_before = [2] * way["ranks"] if output.exists() else []
    assert ended["codes"] in ([0] * way["ranks"], finished_before), log.read_text()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["log", "recon.zarr"]
    for name in VOLUMES:
        np.testing.assert_array_equal(
            open_reconstruction(output).read(name), open_reconstruction(whole).read(name)
        )
    found, wanted = (open_reconstruction(path).facts for path in (output, whole))
    assert found.iterations == wanted.iterations
    assert found.patch_iterations == wanted.patch_iterations
    assert "Traceback" not in log.read_text()
