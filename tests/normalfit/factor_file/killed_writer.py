"""Kill a writer at every one of its write calls, in forked processes, and print what was left.

A script of its own: the processes are forked before any thread is started, and die by SIGKILL.
Usage: killed_writer.py FOLDER NAME OVERWRITE ATOMIC
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from normalfit import exchange
from normalfit.factor_file import FactorMetadata, load_factors, save_factors, validate
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.spectral_norm import SpectralNorm

torch.set_num_threads(1)
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate")
METADATA = FactorMetadata(None, "f", SpectralNorm(1.0, True, 3), 0.0)


def factors(value):
    return Factors(LagKernel(torch.full((1, 3, 3), value), (2, 2), ("linear", "linear")))


def is_write(event, arguments):
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in WRITES


def write(path, value, *, overwrite, kill_at=None):
    """Write in this process, which dies at the write call with this number."""
    count = 0

    def count_and_kill(event, arguments):
        nonlocal count
        if is_write(event, arguments):
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    def renamed(source, target, flag):  # a call into the C library raises no event of its own
        count_and_kill("os.rename", (source, target))
        return plain(source, target, flag)

    plain, exchange._renamed = exchange._renamed, renamed
    sys.addaudithook(count_and_kill)
    save_factors(path, factors(value), METADATA, overwrite=overwrite)
    return count


def forked(action):
    """Run in a forked process; return its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            code = action()
        except BaseException as error:  # noqa: BLE001 - said to the parent
            sys.stderr.write(f"{error!r}\n")
            code = 255
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(path):
    """Return what a reader sees: 'old', 'new', 'none', or what is wrong."""
    if not os.path.lexists(path) and not os.path.lexists(exchange.aside(path)):
        return "none"
    value = float(load_factors(path).kernel.values[0, 0, 0])
    problems = validate(path).problems
    return {1.0: "old", 2.0: "new"}.get(value, "other") if not problems else str(problems)


def look_and_write_again(path, result):
    """Write what is there to `result`, then whether the next run is blocked, and its end."""
    found = state(path)
    write(path, 2.0, overwrite=True)
    result.write_text(json.dumps([found, state(path)]))
    return 0


def main():
    folder, name = Path(sys.argv[1]), sys.argv[2]
    overwrite, atomic = (argument == "1" for argument in sys.argv[3:5])
    if not atomic:
        setattr(exchange, "_renameat2", lambda: None)  # noqa: B010 - mypy knows its type
    prepared, path, result = folder / "prepared" / name, folder / "work" / name, folder / "result"
    prepared.parent.mkdir()
    forked(lambda: write(prepared, 1.0, overwrite=False) and 0)
    seen = []
    for kill_at in range(1000):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        if overwrite:
            (shutil.copytree if prepared.is_dir() else shutil.copy)(prepared, path)
        killed = forked(lambda at=kill_at: write(path, 2.0, overwrite=overwrite, kill_at=at) and 0)
        looked = forked(lambda: look_and_write_again(path, result))
        seen.append([killed, looked, *json.loads(result.read_text())])
        if killed == 0:
            break
    sys.stdout.write(json.dumps(seen))


main()
