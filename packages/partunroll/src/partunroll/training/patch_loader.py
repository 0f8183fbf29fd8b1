"""patch_batches: the batches of a run's steps, made here or by workers."""

from __future__ import annotations

import signal
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from normalfit.errors import NormalfitError
from partunroll.errors import PartunrollError, WorkerError
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.stop_signals import STOPPING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from partunroll.configuration.train_config import TrainConfig
    from partunroll.patches.denoising_batch import TrainingBatch
    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory

_MENDABLE = (NormalfitError, PartunrollError, OSError, MemoryError)


class _Batches(torch.utils.data.Dataset["TrainingBatch | Exception"]):
    """Batches, or why they could not be made: torch would add a worker's traceback to that.

    Parameters
    ----------
    batches
        The batches.
    """

    def __init__(self, batches: PatchDataset) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> TrainingBatch | Exception:
        try:
            return self._batches[step]
        except _MENDABLE as error:
            return error


def patch_batches(
    run: RunDirectory, device: torch.device, first: int, last: int, ranks: Ranks
) -> Generator[TrainingBatch, None, None]:
    """Yield the batches of the steps `first` … `last` - 1, `accumulation` for each.

    They are this process's parts.
    Nothing is read before the first is asked for. Workers end with the iterator: close it.

    Raises
    ------
    NormalfitError, PartunrollError, OSError, MemoryError
        A batch cannot be made, here or in a worker.
    """
    config = run.config
    where = torch.device("cpu") if config.num_workers else device  # tensors of GPUs stay there
    loader = torch.utils.data.DataLoader(
        _Batches(PatchDataset(run.data_path, run.operators, config, where, ranks)),
        batch_size=None,  # an item is a batch
        sampler=range(first * config.accumulation, last * config.accumulation),
        num_workers=config.num_workers,
        multiprocessing_context="spawn" if config.num_workers else None,  # zarr, numba: no fork
        generator=torch.Generator(),  # else it draws from the run's random numbers
    )
    with _stopped_by_the_parent_alone() if config.num_workers else nullcontext():
        batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        # ends the workers: a traceback would keep them until Python ends, which waits for them
        del batches


@contextmanager
def dead_workers_named(config: TrainConfig) -> Iterator[None]:
    """Raise WorkerError where a worker has died: torch says so at any moment, not in `next` only.

    Raises
    ------
    WorkerError
        One has; a step that was being taken may be half taken.
    """
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        if not reason.startswith("DataLoader worker"):
            raise
        msg = (
            f"workers must live as long as the training, got {reason.rstrip('.')}; lower "
            f"num_workers {config.num_workers}, or set cache: false, if memory is short"
        )
        raise WorkerError(msg) from error


@contextmanager
def _stopped_by_the_parent_alone() -> Iterator[None]:
    """Let processes that are started in the block never see the signals that stop a run.

    Terminals and schedulers send them to all processes of a group; workers are needed until the
    step is taken. They inherit the mask, so there is no moment at which they listen; in this
    process the signals come in when the block ends.
    """
    from multiprocessing import resource_tracker  # on POSIX systems alone

    resource_tracker.ensure_running()  # its start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
