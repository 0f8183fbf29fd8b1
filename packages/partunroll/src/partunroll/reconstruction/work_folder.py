"""WorkFolder: what a reconstruction has finished, on disk, so that one that was killed goes on.

Beside the output ``NAME`` lies ``NAME.work``::

    NAME.work/
      journal.json         what is being computed, and what of it is finished
      lock                 held by the process that computes; the system frees it when it dies
      VOLUME               one Zarr array per volume, chunks with checksums

The journal is replaced as a whole after the chunks that it tells of are written. So a process
that is killed loses what it had not yet told, and nothing has to be deleted by hand.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

from partunroll.errors import InputError, MismatchError, NotFiniteError
from partunroll.file_lock import lock
from partunroll.ranks import ALONE, Ranks
from partunroll.store.stored_volume import StoredVolume

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from partunroll.store.stored_volume import PlaneWriter

JOURNAL = "journal.json"
INITIAL = "initial_estimate"  # the volume that iterations start from
REFINED = "refined"  # the result of stage 2
PLAN = "plan"  # how the memory is used


def work_path(output: Path) -> Path:
    """Return where the work folder of an output lies."""
    return output.with_name(output.name + ".work")


class WorkFolder:
    """The volumes of a reconstruction under way, and its journal; `opened` makes one.

    Parameters
    ----------
    path
        The folder.
    shape, dtype
        Of every volume in it.
    journal
        What is finished: under 'finished' facts by name, under 'under_way' those of volumes of
        which only the first planes are.
    ranks
        The processes that share the work: all read, the first one writes.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        journal: dict[str, Any],
        ranks: Ranks = ALONE,
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self.ranks = ranks
        self._journal = journal

    def volume(self, name: str) -> StoredVolume:
        """Return a volume of this folder, there or not."""
        return StoredVolume(self.path / name, self.shape, self.dtype)

    def empty(self) -> np.ndarray:
        """Return an array of no voxels, of the volumes' dtype."""
        return np.empty(0, self.dtype)

    def finished(self, name: str) -> Mapping[str, Any] | None:
        """Return the facts about a step that is finished; None where it is not."""
        return self._journal["finished"].get(name)

    def names(self, beginning: str) -> list[str]:
        """Return the finished steps whose names begin so."""
        return [name for name in self._journal["finished"] if name.startswith(beginning)]

    def under_way(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a volume that is being written: ``planes`` on disk and more."""
        return self._journal["under_way"].get(name, {"planes": 0})

    def writer(self, name: str) -> PlaneWriter:
        """Return the writer of a volume, from its beginning; the first process calls it."""
        return self.volume(name).writer()

    def tell(self, name: str, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Note how far a volume is; other volumes under way are forgotten."""
        self._journal["under_way"] = {name: facts}
        self._save()

    def finish(self, name: str, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Note that a step is finished, with the first process's facts; all wait for it."""
        self._journal["finished"][name] = self.ranks.from_first(lambda: facts)
        self._journal["under_way"].pop(name, None)
        self._save()

    def save(self, name: str, values: torch.Tensor, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Write a whole volume and finish it; what is finished already is left."""
        if self.finished(name) is not None:
            return
        if self.ranks.is_first:
            self.writer(name).write(values)
        self.finish(name, **facts)

    def load(self, name: str, device: torch.device | str) -> torch.Tensor:
        """Return a whole volume."""
        return torch.from_numpy(self.volume(name)[0 : self.shape[0]]).to(device)

    def remove(self, *names: str) -> None:
        """Delete volumes that nobody needs any more; their facts stay."""
        self.ranks.wait()
        for name in names if self.ranks.is_first else ():
            shutil.rmtree(self.path / name, ignore_errors=True)

    @property
    def has_begun(self) -> bool:
        """Whether more than the initial estimate is there to go on from."""
        return bool(set(self._journal["finished"]) - {INITIAL, PLAN} or self._journal["under_way"])

    def clear(self) -> None:
        """Delete the folder; the journal last, which knows that the output is in its place."""
        for part in self.path.iterdir():
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        partial = self.path / (JOURNAL + ".partial")
        partial.write_text(json.dumps(self._journal), encoding="utf-8")
        partial.replace(self.path / JOURNAL)


@contextmanager
def opened(
    path: Path,
    identity: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    ranks: Ranks = ALONE,
) -> Iterator[WorkFolder]:
    """Make a work folder, or open the one that a killed process left; hold its lock.

    Where the work fails before it has begun, or with a result that is not finite, the folder is
    deleted.

    Parameters
    ----------
    path
        The folder, from `work_path`.
    identity
        Everything that decides the result, as JSON values: only the same goes on.
    shape, dtype, ranks
        As for `WorkFolder`.

    Raises
    ------
    InputError
        Another process works in it, or it is no work folder.
    MismatchError
        It is of another reconstruction; what differs is named.
    """
    with ExitStack() as held:

        def begin() -> dict[str, Any]:
            if path.exists() and not path.is_dir():
                msg = f"{path} must be free for a work folder, got a file; choose another output"
                raise InputError(msg)
            path.mkdir(exist_ok=True)
            _take(held.enter_context((path / "lock").open("wb")), path)
            return _journal(path, dict(identity))

        # told, not read by each: the first process may have finished more by the time they read
        folder = WorkFolder(path, shape, dtype, ranks.from_first(begin), ranks)
        folder._save()
        try:
            yield folder
        except Exception as error:
            hopeless = isinstance(error, NotFiniteError) or not folder.has_begun
            if hopeless and ranks.is_first:
                folder.clear()  # or it would stand in the way of the mended command
            raise


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return what differs between two identities, a few words each; '' where nothing does."""
    names = sorted(set(found) | set(wanted))
    return ", ".join(
        f"{name} {str(found.get(name))[:40]}, not {str(wanted.get(name))[:40]}"
        for name in names
        if found.get(name) != wanted.get(name)
    )


def _journal(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    place = path / JOURNAL
    identity = json.loads(json.dumps(identity))
    if not place.is_file():
        return {"identity": identity, "finished": {}, "under_way": {}}
    journal = _read(place)
    differing = differences(journal["identity"], identity)
    if differing:
        msg = (
            f"{path} must be of the same reconstruction to go on with it, got one with {differing};"
            " give the same options, choose another output, or delete the folder"
        )
        raise MismatchError(msg)
    return journal


def _read(place: Path) -> dict[str, Any]:
    """Return a journal, which only damage to the disk can have broken."""
    try:
        journal = json.loads(place.read_text(encoding="utf-8"))
        sound = set(journal) == {"identity", "finished", "under_way"}
    except (ValueError, TypeError):
        sound = False
    if not sound or not all(isinstance(part, dict) for part in journal.values()):
        msg = f"{place} must be the journal of a reconstruction, got another; delete its folder"
        raise InputError(msg)
    return dict(journal)


def _take(file: IO[bytes], path: Path) -> None:
    if not lock(file):
        msg = f"{path} must be free, got one in which another process works; wait for it"
        raise InputError(msg)
