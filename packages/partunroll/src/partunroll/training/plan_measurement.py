"""measured_plan: the plan of a training, measured on one of its steps, which it does not take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from normalfit.devices import free_bytes
from partunroll.errors import InputError, RankError
from partunroll.held_bytes import held_bytes
from partunroll.network.prior_compilation import uncompiled_prior
from partunroll.training.patch_dataset import PatchDataset
from partunroll.training.step_memory import MemoryLimitError, StepMemory, step_memory
from partunroll.training.training_plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from partunroll.network.networks import Network
    from partunroll.patches.denoising_batch import TrainingBatch
    from partunroll.ranks import Ranks
    from partunroll.training.run_directory import RunDirectory
    from partunroll.training.training_state import TrainingState

_MOMENTS = 2  # of Adam, per parameter
_RUNS = 2  # of the timed pass, the faster of which counts: the first may compile


def measured_plan(
    run: RunDirectory,
    state: TrainingState,
    ranks: Ranks,
    losses: Callable[[TrainingBatch], torch.Tensor],
) -> TrainingPlan:
    """Measure the next step of a run, and leave its state as it is, bit for bit.

    Costs three forward and backward passes and two batches. The pass is ended as soon as the free
    memory is used up. The optimizer's own time is not measured. Memory is that of a prior that is
    not compiled. Of a step that accumulates one batch is measured, and its time multiplied.

    Parameters
    ----------
    run, state
        The run, and its state; gradients of the network are dropped.
    ranks
        Processes that share every batch.
    losses
        The forward pass: the loss of every patch of a batch.
    """
    device, accumulation = state.device, run.config.accumulation
    dataset = PatchDataset(run.data_path, run.operators, run.config, device, ranks)
    first = min(state.step, run.config.steps - 1) * accumulation
    dataset[first]
    started = time.perf_counter()
    batch = dataset[first]  # volumes and factors have been read
    data_seconds = time.perf_counter() - started
    weights = _num_bytes(state.network)
    average = 0 if state.average is None else _num_bytes(state.average.network)
    optimizer = _MOMENTS * weights
    held_optimizer = held_bytes(state.optimizer.state_dict())
    held_data = held_bytes(dataset, batch)
    free = free_bytes(device)
    limit = None if free is None else max(0, free - (optimizer - held_optimizer))

    def one_pass() -> None:
        torch.autograd.backward(losses(batch).mean())
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    found, seconds = _measured(one_pass, state.network, limit)
    return TrainingPlan(
        config=run.config,
        device=str(device),
        processes=ranks.size,
        local_processes=ranks.local_size,
        parameters=sum(p.numel() for p in state.network.parameters()),
        weights=weights,
        gradients=weights,
        optimizer=optimizer,
        average=average,
        activations=found.saved,
        working=max(0, max(found.peak, found.resident) - found.saved - weights),
        data=_data_bytes(dataset, held_data, run.config.num_workers, device),
        held=weights + average + held_optimizer + held_data,
        free=free,
        step_seconds=None if seconds is None else accumulation * seconds,
        data_seconds=accumulation * data_seconds,
        steps_left=run.config.steps - state.step,
    )


def check_plan(
    run: RunDirectory,
    state: TrainingState,
    ranks: Ranks,
    losses: Callable[[TrainingBatch], torch.Tensor],
    on_plan: Callable[[TrainingPlan], None],
) -> None:
    """Measure the plan, hand that of the first process out, and refuse what does not fit.

    Raises
    ------
    InputError, RankError
        The memory of some process does not suffice; in the first process, and in the others.
    """
    plan = measured_plan(run, state, ranks, losses)
    if ranks.is_first:
        on_plan(plan)
    problems = [problem for problem in ranks.joined([plan.problem]) if problem]
    if problems:
        raise (InputError if ranks.is_first else RankError)(problems[0])


def _measured(
    one_pass: Callable[[], None], network: Network, limit: int | None
) -> tuple[StepMemory, float | None]:
    """Return memory and time of a pass; no time where it did not fit."""
    network.train()
    times = []
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            with uncompiled_prior(network):
                found = step_memory(one_pass, network, limit)
            for _ in range(_RUNS):
                network.zero_grad()
                started = time.perf_counter()
                one_pass()
                times.append(time.perf_counter() - started)
        except MemoryLimitError as error:
            return StepMemory(error.num_bytes, error.num_bytes), None
        finally:
            network.zero_grad()
    return found, min(times)


def _data_bytes(dataset: PatchDataset, held: int, num_workers: int, device: torch.device) -> int:
    """Return what data take once everything is read, in every process that makes batches.

    A GPU holds none of the volumes; they are read on the host.
    """
    if device.type == "cuda":
        return held
    volumes = dataset.cached_bytes
    return max(1, num_workers) * (held + max(0, volumes - dataset.read_bytes))


def _num_bytes(network: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())
