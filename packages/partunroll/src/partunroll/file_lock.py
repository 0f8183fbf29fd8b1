"""lock: a file that one process at a time holds; the system frees it when the process dies."""

from __future__ import annotations

from typing import IO


def lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False where another process holds it.

    Elsewhere than on POSIX systems, and on file systems without locks, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
