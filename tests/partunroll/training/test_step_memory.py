"""The memory of a pass is measured: what is saved, and what is alive at the peak."""

import gc

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from partunroll.held_bytes import held_bytes
from partunroll.training.step_memory import MemoryLimitError, step_memory

MEGA = 2**18  # floats in a MiB
MIB = 2**20


class Chain(torch.nn.Module):
    """Multiplies `length` times by a learned number: every product saves its factor."""

    def __init__(self, length, *, checkpointing=False):
        super().__init__()
        self.factors = torch.nn.Parameter(torch.ones(length))
        self.checkpointing = checkpointing

    def forward(self, x):
        for factor in self.factors:
            if self.checkpointing:
                x = checkpoint(lambda x, a=factor: (x * a).exp().sin(), x, use_reentrant=False)
            else:
                x = (x * factor).exp().sin()
        return x


def measured(network, limit=None, num=MEGA):
    x = torch.zeros(num)
    return step_memory(lambda: network(x).sum().backward(), network, limit)


def test_activations_are_what_the_forward_pass_saves():
    found = measured(Chain(3))
    # per link: what is multiplied, what exp gives, and nothing else that is not one of these
    assert found.saved == pytest.approx(3 * 2 * MIB + MIB, abs=1e4 + MIB)
    assert measured(Chain(6)).saved == pytest.approx(2 * found.saved, rel=0.2)
    assert measured(Chain(3), num=2 * MEGA).saved == pytest.approx(2 * found.saved, rel=0.01)


def test_peak_holds_what_is_saved_and_what_comes_and_goes():
    found = measured(Chain(6))
    assert found.saved <= found.peak + MIB  # the input is saved, but was there before
    assert found.peak < found.saved + 4 * MIB
    x = torch.zeros(MEGA)
    temporary = step_memory(lambda: (x + 1 + 1 + 1).sum(), Chain(1))
    assert temporary.saved == 0
    assert temporary.peak == pytest.approx(2 * MIB, abs=1e4)


def test_what_is_computed_again_counts_at_the_peak():
    plain, again = measured(Chain(8)), measured(Chain(8, checkpointing=True))
    assert again.saved < 0.7 * plain.saved
    assert again.saved + MIB < again.peak < plain.peak


def test_views_and_weights_are_not_counted():
    network = torch.nn.Linear(512, 512)
    x = torch.zeros(8, 512)
    found = step_memory(lambda: network(x.view(8, 512)).sum().backward(), network)
    gradients = 4 * (512 * 512 + 512)
    assert found.saved <= x.nbytes
    assert gradients <= found.peak < gradients + 0.2 * MIB


def test_pass_that_needs_too_much_is_ended():
    with pytest.raises(MemoryLimitError) as error:
        measured(Chain(100), limit=10 * MIB)
    assert 10 * MIB < error.value.num_bytes < 13 * MIB


def test_held_arrays_count_once():
    tensor, array = torch.zeros(100), np.zeros(50)
    parts = {"a": [tensor, tensor[10:]], "b": (array, array[::2])}
    assert held_bytes(parts, parts, tensor) == 4 * 100 + 8 * 50


def test_arrays_of_foreign_libraries_show_in_what_the_process_grows_by():
    network = Chain(2)

    def step():
        network(torch.zeros(MEGA)).sum().backward()
        np.ones(160 * MEGA, np.float32).sum()

    gc.collect()  # what is freed inside the step hides as much of what it takes
    found = step_memory(step, network)
    assert found.peak < 20 * MIB
    assert found.resident > 38 * MIB
