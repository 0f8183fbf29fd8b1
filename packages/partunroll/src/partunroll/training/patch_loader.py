"""patch_batches: the batches of a run's steps, made here or by workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.stop_signals import left_to_the_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from partunroll.patches.denoising_batch import TrainingBatch
    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory


def patch_batches(
    run: RunDirectory, device: torch.device, first: int, last: int, ranks: Ranks
) -> Iterator[TrainingBatch]:
    """Yield the batches of the steps `first` … `last` - 1, `accumulation` for each.

    They are this process's parts.
    Nothing is read before the first is asked for.
    """
    config = run.config
    where = torch.device("cpu") if config.num_workers else device  # tensors of GPUs stay there
    yield from torch.utils.data.DataLoader(
        PatchDataset(run.data_path, run.operators, config, where, ranks),
        batch_size=None,  # an item is a batch
        sampler=range(first * config.accumulation, last * config.accumulation),
        num_workers=config.num_workers,
        multiprocessing_context="spawn" if config.num_workers else None,  # zarr, numba: no fork
        worker_init_fn=left_to_the_parent,
        generator=torch.Generator(),  # else it draws from the run's random numbers
    )
