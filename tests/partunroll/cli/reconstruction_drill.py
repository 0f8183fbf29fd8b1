"""The driver of the reconstruction's fault drill: runs commands, kills them, says how they ended.

A process that has imported everything and computed nothing; for every line of JSON on its stdin
it forks as many ranks as torchrun would start, and answers by a line: their exit codes and how
many events each of them has met. An event is a call of something that computes, writes or waits;
a victim is killed by SIGKILL some milliseconds after one, wherever it then is, at its exit at
the latest.
"""

import json
import os
import signal
import socket
import sys
import threading
import time

import deepinv.models  # noqa: F401 - takes seconds
import torch.distributed  # noqa: F401

from partunroll.cli import main
from partunroll.network.prior import DRUNetPrior
from partunroll.ranks import Ranks
from partunroll.reconstruction import (
    reconstruct_to_file,  # noqa: F401
    reconstruction_file,
    reconstruction_job,
)
from partunroll.reconstruction.memory_plan import MemoryPlan
from partunroll.reconstruction.work_folder import WorkFolder
from partunroll.store import data_store_header
from partunroll.store.stored_volume import PlaneWriter

WATCHED = (
    (DRUNetPrior, "forward"), (PlaneWriter, "write"), (WorkFolder, "_save"),
    (WorkFolder, "clear"), (WorkFolder, "remove"), (Ranks, "add_up"),
    (reconstruction_file, "put_in_place"),
)  # fmt: skip

GRACE = 5  # seconds in which a process may find out by itself that another is dead


def watch(owner, name, on_event):
    function = getattr(owner, name)

    def watched(*arguments, **options):
        on_event()
        return function(*arguments, **options)

    setattr(owner, name, watched)


def run(job, rank, port, report):
    data_store_header.VOLUME_CHUNK = data_store_header.IMAGE_CHUNK = 4
    if job["on_disk"]:
        plan = MemoryPlan(on_disk=True, planes=24, slab_bytes=2**27)
        setattr(reconstruction_job, "plan_memory", lambda *_, **__: plan)  # noqa: B010 - untyped
    seen, moment = 0, job["kill_at"][rank]

    def on_event():
        nonlocal seen
        seen += 1
        if seen == moment:
            threading.Thread(target=die_in, args=(job["delay"],)).start()

    for owner, name in WATCHED:
        watch(owner, name, on_event)
    if job["ranks"] > 1:
        os.environ |= {"WORLD_SIZE": str(job["ranks"]), "RANK": str(rank),
                       "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port)}  # fmt: skip
    sys.argv = ["partunroll", *job["arguments"]]
    try:
        main()
    finally:
        os.write(report, f"{seen}\n".encode())
        if moment is not None and seen >= moment:
            time.sleep(60)  # death is on its way


def die_in(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def ended(children):
    """Return exit codes; where one fails the others are ended after a while, as by torchrun.

    One that sends to a dead one may wait for good (gloo).
    """
    codes: list[int | None] = [None] * len(children)
    deadline: float | None = None
    while None in codes:
        for i, child in enumerate(children):
            if codes[i] is None and (found := os.waitpid(child, os.WNOHANG))[0]:
                codes[i] = os.waitstatus_to_exitcode(found[1])
        if deadline is None and any(codes):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for child in (c for c, code in zip(children, codes, strict=True) if code is None):
                os.kill(child, signal.SIGTERM)
            deadline += GRACE
        time.sleep(0.01)
    return codes


def answer(job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, children = [], []
    for rank in range(job["ranks"]):
        pipes.append(os.pipe())
        child = os.fork()
        if not child:
            with open(job["log"], "a") as log:  # noqa: PTH123
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                run(job, rank, port, pipes[-1][1])
        children.append(child)
        os.close(pipes[-1][1])
    codes = ended(children)
    events = [int(os.read(readable, 32).decode() or 0) for readable, _ in pipes]
    for readable, _ in pipes:
        os.close(readable)
    return {"codes": codes, "events": events}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)  # noqa: T201
