"""``python -m partunroll.comparison.row_process JOB.json``: one job, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import torch

from normalfit.errors import NormalfitError
from partunroll.comparison.network_training import train_row
from partunroll.comparison.row_job import FAILED, JOBS, Job, TrainJob
from partunroll.comparison.row_reconstruction import reconstruct_row
from partunroll.durable_file import written_durably
from partunroll.errors import PartunrollError

STOPPED = 75  # exit code of a job that a signal stopped and that can go on (EX_TEMPFAIL)
_WATCH_SECONDS = 1.0


def main(path: Path) -> int:
    """Do a job; what it raises is left in its folder as the reason of its failure."""
    job = JOBS.validate_json(path.read_text(encoding="utf-8"))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))
    try:
        return _done(job)
    except Exception as error:  # noqa: BLE001 - a row may fail in any way, and is shown so
        expected = isinstance(error, NormalfitError | PartunrollError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        traceback.print_exc()
        write_failure(job.folder, " ".join(reason.split()))
        return 1


def write_failure(folder: Path, reason: str) -> None:
    """Leave the reason of a failure in a job's folder; a full disk has no room for it."""
    with contextlib.suppress(OSError), written_durably(folder / FAILED) as fresh:
        fresh.write_text(json.dumps({"reason": reason}), encoding="utf-8")


def _done(job: Job) -> int:
    if isinstance(job, TrainJob):
        return STOPPED if train_row(job) is not None else 0
    reconstruct_row(job)
    return 0


def _end_with(parent: int) -> None:
    """End this process as a signal does when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
