"""container_free_bytes: what a container or a scheduler's job leaves of its memory (cgroups v2)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def container_free_bytes(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Return the bytes that the tightest limit on this process leaves; None without a limit.

    File pages that the system would give up count as free, as in ``MemAvailable``.

    Parameters
    ----------
    root
        Where control groups are shown.
    own
        File that names the group of this process, as ``0::/job/step``.
    """
    left = [_left(folder) for folder in _folders(root, own)]
    return min((free for free in left if free is not None), default=None)


def _folders(root: Path, own: Path) -> list[Path]:
    """Return the folders of the process' group and of those that it lies in."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return [root]
    place = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root / place.strip().lstrip("/")
    return [folder, *(f for f in folder.parents if f.is_relative_to(root))]


def _left(folder: Path) -> int | None:
    with suppress(OSError, ValueError):  # no such group here, no limit ("max"), or another system
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        return max(0, limit - used + _reclaimable(folder))
    return None


def _reclaimable(folder: Path) -> int:
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    return 0
