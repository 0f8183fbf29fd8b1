"""The memory that a fit says it needs, against what the kernel counts, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from normalfit import fit_memory as fit_memory_module
from normalfit import probed_terms
from normalfit.fit_memory import fit_memory
from normalfit.fitting import fit
from normalfit.grid import Grid
from normalfit.least_squares_options import LeastSquaresOptions
from normalfit.linear_operator import FunctionOperator
from normalfit.model import Model
from normalfit.response_folder import ResponseFolder

CASES = {
    "two-sided": {"model": {"name": "two-sided", "terms": 1}, "side": 48, "probes": 4},
    "local": {"model": {"name": "local", "windows": 2}, "side": 32, "probes": 4},
    "multicoil": {
        "model": {"name": "multicoil", "terms": 2, "lags": 9},
        "side": 32,
        "probes": 2,
        "is_complex": True,
    },
    # many probes on a small FFT: kept in memory, their responses would break what is said
    "folder": {
        "model": {"name": "two-sided", "terms": 1, "boundary": "periodic"},
        "side": 48,
        "probes": 40,
        "in_folder": True,
    },
    # spectra that fill what may be kept of them, for the terms and for a direction at a time
    "spectra": {
        "model": {"name": "two-sided", "terms": 1},
        "side": 20,
        "probes": 126,
        "in_folder": True,
        "spectra_bytes": 2**25,
    },
}
HELD_OUT = 2
# Returns these small arrays at once, as glibc always does with those above 32 MiB; from its heap
# the two-sided case takes 140 to 159 MB, not 95.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}
OPTIONS = LeastSquaresOptions(sweeps=1, trial_sweeps=1, starts=1)


def uneven_difference(side, *, is_complex):
    """Differences of neighbours between two images: no fit is exact, so that ridges are met."""
    draw, grid = torch.Generator().manual_seed(0), Grid((side,) * 3)
    inner, outer = (1 + torch.rand(grid.shape, generator=draw) for _ in range(2))

    def forward(x):
        x = inner * x
        return outer * (x - 0.5 * x.roll(1, -1))

    def adjoint(y):
        y = outer * y
        return inner * (y - 0.5 * y.roll(-1, -1))

    return FunctionOperator(grid, grid, forward, adjoint, is_complex=is_complex)


def resident(name):
    """Bytes that the kernel counts: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measured(folder, *, model, side, probes, is_complex=False, in_folder=False, spectra_bytes=None):
    """Return the bytes that a fit takes beyond the process, and those that it says."""
    if spectra_bytes is not None:
        for module in (fit_memory_module, probed_terms):
            vars(module)["SPECTRA_BYTES"] = spectra_bytes
    model, responses = Model(**model), ResponseFolder(folder, "uneven difference")
    how = {"model": model, "held_out": HELD_OUT, "evaluation": 2, "options": OPTIONS}
    small, operator = (uneven_difference(n, is_complex=is_complex) for n in (6, side))
    fit(small, probes=2, **how)  # imports what is imported late
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = resident("VmRSS")
    fit(operator, probes=probes, responses=responses if in_folder else None, **how)
    said = fit_memory(
        model,
        operator.domain.shape,
        probes=probes + HELD_OUT,
        in_memory=not in_folder,
        dtype=operator.probe_dtype,
    )
    return {"taken": resident("VmHWM") - before, "said": said.factors + said.responses}


@pytest.fixture(scope="module")
def bytes_of_cases(tmp_path_factory):
    """All cases in one process, which imports first."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs /proc/self/clear_refs, which only Linux has")
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("memory") / "responses")]
    env = {**os.environ, **ALLOCATOR}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_fit_takes_at_most_what_it_says_and_not_far_less(case, bytes_of_cases):
    taken, said = bytes_of_cases[case]["taken"], bytes_of_cases[case]["said"]
    assert said / 4 < taken <= said


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = {name: measured(f"{sys.argv[1]}-{name}", **case) for name, case in CASES.items()}
    sys.stdout.write(json.dumps(cases))
