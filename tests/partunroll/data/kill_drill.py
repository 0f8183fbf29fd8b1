"""Generic, walnut and calgary preparation together, killed at seeded moments and started again.

A script that the tests beside it start once: it makes the files, prepares them undisturbed, and
then answers every line of its input, a seed, with a line: what was killed when, and how the
stores differ from the undisturbed ones. Every preparation runs in a forked process; nothing in
this one starts a thread, or computes.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "mri")]

from prepare_drill import finished, forked, inpainting, written  # type: ignore[import-not-found] # noqa: E402
from test_prepare_calgary import write_scan  # type: ignore[import-not-found] # noqa: E402
from test_prepare_walnut import write_walnut  # type: ignore[import-not-found] # noqa: E402

from partunroll.measurements.calgary_preparation import (  # noqa: E402
    CalgaryChoice,
    prepare_calgary,
)
from partunroll.measurements.preparation import prepare  # noqa: E402
from partunroll.measurements.walnut_preparation import WalnutChoice, prepare_walnut  # noqa: E402

STORES = ("generic", "walnut", "calgary")
SIDE, SAMPLES = 12, 2
SCANS = CalgaryChoice(accelerations=(2.0,), mask_centre=8, calibration=8)


def write_inputs(folder):
    write_walnut(folder / "walnuts", 1)
    write_walnut(folder / "walnuts", 2)
    write_scan(folder / "heads" / "Train" / "a.h5", (2, 22, 20))
    write_scan(folder / "heads" / "Val" / "b.h5", (2, 22, 21), seed=1)
    written(folder, (SAMPLES, *[SIDE] * 3), (SAMPLES, *[SIDE] * 3))


def prepare_all(inputs, output, order=STORES):
    """Run every preparation that is not finished, as a user would start it again."""
    names = [[str(inputs / f"{kind}{i}.npy") for i in range(SAMPLES)] for kind in "yx"]
    runs = {
        "generic": lambda path: prepare(inpainting(SIDE), *names, path),
        "walnut": lambda path: prepare_walnut(inputs / "walnuts", path, WalnutChoice(views=(6,))),
        "calgary": lambda path: prepare_calgary(inputs / "heads", path, SCANS),
    }
    for name in order:
        if not (output / name).exists():
            runs[name](output / name)


def content(folder):
    """Return what the stores hold, by file; of headers, what the circumstances don't change."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for name in STORES:
        header = json.loads(files.pop(f"{name}/zarr.json"))["attributes"]
        del header["checksum"], header["made"]["created"], header["made"]["command"]
        files[f"{name}/zarr.json"] = json.dumps(header).encode()
    return files


def drill(inputs, folder, undisturbed, seconds, seed):
    """Kill once or twice, start again, and say what differs."""
    rng = np.random.default_rng(seed)
    output = folder / f"killed-{seed}"
    output.mkdir()
    order = [str(name) for name in rng.permutation(STORES)]
    kills = []
    for moment in rng.uniform(0, 1, rng.integers(1, 3)) * seconds:
        child = forked(prepare_all, inputs, output, order)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole = sorted(path.name for path in output.glob("[a-z]*"))
        parts = len(list(output.glob(".*.unfinished/complete/*.json")))
        kills.append({"after": round(moment, 3), "finished": whole, "parts": parts})
    finished(forked(prepare_all, inputs, output))
    left = [path.name for path in output.glob(".*")]
    found = content(output)
    kept = {name: data for name, data in found.items() if not name.startswith(".")}
    differing = sorted(
        name for name in {*kept, *undisturbed} if kept.get(name) != undisturbed.get(name)
    )
    shutil.rmtree(output)
    return {
        "order": order,
        "kills": kills,
        "differing": differing,
        "left": left,
    }


def main(folder):
    inputs, first = folder / "inputs", folder / "undisturbed"
    inputs.mkdir()
    first.mkdir()
    finished(forked(write_inputs, inputs))
    finished(forked(prepare_all, inputs, first))  # compiles what there is
    shutil.rmtree(first)
    first.mkdir()
    start = time.monotonic()
    finished(forked(prepare_all, inputs, first))
    seconds = time.monotonic() - start
    undisturbed = content(first)
    sys.stdout.write(json.dumps({"seconds": seconds, "files": len(undisturbed)}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer = drill(inputs, folder, undisturbed, seconds, int(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
