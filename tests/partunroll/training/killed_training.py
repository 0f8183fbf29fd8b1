"""Training in processes that count the files they touch, or die before they touch one."""

import itertools
import json
import os
import signal
import sys
import time

FILE_EVENTS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"}


def counted(call, output, report):
    """Train, and say how many files were touched and how long it took."""
    events = itertools.count()
    sys.addaudithook(lambda event, _: next(events) if event in FILE_EVENTS else None)
    started = time.monotonic()
    call(output)
    touched, seconds = next(events), time.monotonic() - started
    report.write_text(json.dumps([touched, seconds]))


def killed_at_file(call, output, resume, number):
    """Train, and die right before the number-th time that a file is touched."""
    events = itertools.count(1)

    def die(event, _):
        if event in FILE_EVENTS and next(events) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    call(output, resume=resume)
