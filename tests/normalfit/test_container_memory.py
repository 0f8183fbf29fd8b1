"""The memory that a container leaves is the least that any limit above the process leaves."""

import torch

from normalfit.container_memory import container_free_bytes
from normalfit.devices import free_bytes


def group(folder, limit, used, inactive=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 3\ninactive_file {inactive}\n")


def own(tmp_path, text):
    (tmp_path / "cgroup").write_text(text)
    return tmp_path / "cgroup"


def test_the_tightest_limit_counts_and_pages_of_files_are_free(tmp_path):
    root = tmp_path / "groups"
    group(root / "job" / "step", "max", 10)
    group(root / "job", 1000, 700, inactive=50)
    group(root, 5000, 700)
    found = container_free_bytes(root, own(tmp_path, "1:name=x:/other\n0::/job/step\n"))
    assert found == 350


def test_a_group_that_uses_more_leaves_nothing(tmp_path):
    group(tmp_path, 100, 300)
    assert container_free_bytes(tmp_path, own(tmp_path, "0::/\n")) == 0


def test_no_limit_and_other_systems_leave_it_open(tmp_path):
    group(tmp_path / "free", "max", 10)
    assert container_free_bytes(tmp_path / "free", own(tmp_path, "0::/\n")) is None
    assert container_free_bytes(tmp_path / "nowhere", tmp_path / "nothing") is None


def test_free_memory_of_the_host_is_no_more_than_the_container_leaves(monkeypatch):
    monkeypatch.setattr("normalfit.devices.container_free_bytes", lambda: 12345)
    assert free_bytes(torch.device("cpu")) == 12345
