"""JobRunner: jobs in processes of their own, some at a time; a failure is an outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from partunroll.comparison.row_job import FAILED, FINISHED, LOG, ReconstructJob
from partunroll.comparison.row_process import STOPPED, write_failure
from partunroll.comparison.row_reconstruction import volume_file
from partunroll.completed_parts import CompletedParts
from partunroll.durable_file import written_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from partunroll.comparison.row_job import Job

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_PATIENCE_SECONDS = 60  # that a stopped training may take to save
_KILLED = "killed by the system, perhaps for lack of memory"


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    figures
        What it recorded; None where it failed.
    reason
        Why it failed.
    """

    figures: dict[str, Any] | None
    reason: str = ""


@dataclass(eq=False)
class JobRunner:
    """Runs jobs.

    Parameters
    ----------
    jobs
        How many at a time; the processor's cores are shared among them.
    on_end
        Told of every job that has ended.
    """

    jobs: int = 1
    on_end: Callable[[Job, Outcome], object] = lambda _job, _outcome: None
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Return the outcomes of jobs, those finished before included.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C, when the running jobs have saved what they can.
        """
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._outcome, job) for job in jobs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise

    def _outcome(self, job: Job) -> Outcome:
        outcome = recorded(job)
        if outcome is None:
            outcome = self._started(job)
            self.on_end(job, outcome)
        return outcome

    def _started(self, job: Job) -> Outcome:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / FAILED).unlink(missing_ok=True)
        document = job.folder / "job.json"
        with written_durably(document) as fresh:
            fresh.write_text(job.model_dump_json(indent=2), encoding="utf-8")
        command = [sys.executable, "-m", "partunroll.comparison.row_process", str(document)]
        with (job.folder / LOG).open("ab") as log:
            with self._lock:
                if self._stopped:
                    return Outcome(None, "not started")
                process = subprocess.Popen(  # noqa: S603 - a module of our own
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    start_new_session=True,  # Ctrl-C is passed on once, by us
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        done = recorded(job)
        if done is not None:
            return done
        reason = _reason(job, code)
        if code != STOPPED and not self._stopped:
            write_failure(job.folder, reason)  # a killed process has left none
        return Outcome(None, reason)

    def _environment(self) -> dict[str, str]:
        """Return the environment, in which each job may use its share of the cores."""
        share = str(max(1, (os.cpu_count() or 1) // self.jobs))
        shares = dict.fromkeys(_THREAD_VARIABLES, share) if self.jobs > 1 else {}
        return {**shares, **os.environ}

    def _stop(self) -> None:
        """Let the running jobs save, and wait until they have ended."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def recorded(job: Job) -> Outcome | None:
    """Return the outcome of a job that was finished before; None if it was not.

    Reconstructions that have been removed are to be made again.
    """
    figures = CompletedParts(job.folder).read(FINISHED)
    if figures is None:
        return None
    if isinstance(job, ReconstructJob):
        files = [volume_file(job.folder, sample) for sample in figures["seconds"]]
        if not all(file.is_file() for file in files):
            return None
    return Outcome(figures)


def recorded_failure(job: Job) -> str | None:
    """Return why a job has failed when it was run last; None where it has not."""
    try:
        return str(json.loads((job.folder / FAILED).read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _reason(job: Job, code: int) -> str:
    failed = recorded_failure(job)
    if failed is not None:
        return failed
    if code == STOPPED:
        return "stopped before it was finished; the same command goes on"
    if code == -signal.SIGKILL:
        return f"{_KILLED} (SIGKILL); see {job.folder / LOG}"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}; see {job.folder / LOG}"
    return f"ended with exit code {code} and no result; see {job.folder / LOG}"
