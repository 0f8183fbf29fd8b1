"""A device is what its name says, or an error."""

import pytest
import torch

from normalfit.devices import resolve_device
from normalfit.errors import BackendError, InputError


def test_cpu():
    assert resolve_device("cpu") == torch.device("cpu")


def test_auto_is_the_gpu_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "mps"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(InputError, match=r"device must be 'auto', 'cpu', .*, got"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=f"got '{name}' with 0 CUDA devices"):
        resolve_device(name)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(BackendError, match="got 'cuda:2' with 2 CUDA devices"):
        resolve_device("cuda:2")
