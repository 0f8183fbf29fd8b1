"""A prepare that was killed goes on where it was, and ends as if nothing had happened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from partunroll.errors import DataStoreError, InputError
from partunroll.measurements import prepared_samples
from partunroll.measurements.preparation import prepare
from partunroll.objects.made_objects import made_object
from partunroll.store.data_store import DataStore


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    """Run the drill; return what it says."""
    folder = tmp_path_factory.mktemp("drill")
    script = Path(__file__).with_name("prepare_drill.py")
    done = subprocess.run(  # noqa: S603 - the script beside this file
        [sys.executable, script, folder],
        # large arrays are given back to the system at once, as those of 512³ are
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path, cone_spec):
    """Write three scans and their volumes; return their paths."""
    operator = cone_spec.build()
    scans, truths = [], []
    for i in range(3):
        x = 0.02 * made_object(operator.domain.shape, i)
        truths.append(tmp_path / f"x{i}.npy")
        scans.append(tmp_path / f"y{i}.npy")
        np.save(truths[-1], x)
        np.save(scans[-1], operator.forward(torch.from_numpy(x)).numpy())
    return scans, truths


@pytest.fixture
def counted(monkeypatch):
    """Return the ids of the samples that are computed, and a set of those at which to fail."""
    ids: list[str] = []
    failing: set[str] = set()
    add = prepared_samples.Preparation.add

    def adding(self, writer, source, operator):
        ids.append(source.id)
        if source.id in failing:
            writer._cleared("samples", source.id)  # as a kill in the middle of it leaves it
            raise KeyboardInterrupt
        return add(self, writer, source, operator)

    monkeypatch.setattr(prepared_samples.Preparation, "add", adding)
    return ids, failing


def _content(store):
    """Return what a store holds, by file; of its header, what the circumstances don't change."""
    files = {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    header = json.loads(files.pop((store / "zarr.json").relative_to(store)))["attributes"]
    for changing in ("command", "created"):
        del header["made"][changing]
    del header["checksum"]
    return files | {"header": header}


@pytest.mark.slow
def test_memory_is_bounded_in_volumes(drill):
    assert drill["volumes"]["fdk"] < 4
    assert drill["volumes"]["least-squares"] < 8 + 3  # measurements of inpainting are a volume too


def test_complete_samples_are_not_made_again(tmp_path, cone_spec, files, counted):
    ids, failing = counted
    failing.add("y2")
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert not (tmp_path / "d.zarr").exists()
    failing.clear()
    summary = prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert ids == ["y0", "y1", "y2", "y2"]
    assert summary.splits == {"train": 3}
    assert 0 <= summary.mismatches["operator"][1] < 1e-3
    prepare(cone_spec, *files, tmp_path / "e.zarr")
    assert _content(tmp_path / "d.zarr") == _content(tmp_path / "e.zarr")
    assert not list(tmp_path.glob(".*"))


def test_what_a_run_with_other_arguments_left_is_neither_used_nor_lost(
    tmp_path, cone_spec, files, counted
):
    ids, failing = counted
    failing.add("y2")
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr", intensity_per_mm=0.5)
    stamp = files[0][0].stat().st_mtime_ns
    os.utime(files[0][0], ns=(1, 1))  # a file that has changed is read again
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert ids == ["y0", "y1", "y2"] * 3
    assert len(list(tmp_path.glob(".*.unfinished"))) == 3
    failing.clear()
    os.utime(files[0][0], ns=(stamp, stamp))
    prepare(cone_spec, *files, tmp_path / "d.zarr", intensity_per_mm=0.5)
    assert ids[9:] == ["y2"]
    assert {s.intensity_per_mm for s in DataStore.open(tmp_path / "d.zarr").samples} == {0.5}
    assert not list(tmp_path.glob(".*"))


def test_damage_is_found_at_the_end_and_mended_by_the_next_run(tmp_path, cone_spec, files, counted):
    ids, failing = counted
    failing.add("y2")
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    for chunk in tmp_path.glob(".*.unfinished/output/samples/y*/reference/c/0/0/0"):
        content = chunk.read_bytes()
        chunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    failing.clear()
    with pytest.raises(DataStoreError, match=r"run the same .* makes sample-y0, sample-y1 again"):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert ids == ["y0", "y1", "y2", "y2", "y0", "y1"]
    DataStore.open(tmp_path / "d.zarr").read("y0", "reference")


def test_chunks_that_change_places_are_found(tmp_path, cone_spec, files, counted):
    _, failing = counted
    failing.add("y1")
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    (chunk,) = tmp_path.glob(".*.unfinished/output/samples/y0/measurements/c/0/0/0")
    chunk.write_bytes((chunk.parents[2] / "1/0/0").read_bytes())  # sound, of another view
    failing.clear()
    with pytest.raises(DataStoreError, match="measurements must have the SHA-256"):
        prepare(cone_spec, *files, tmp_path / "d.zarr")


def test_one_process_at_a_time_makes_an_output(tmp_path, cone_spec, files, monkeypatch):
    def during(*_):
        with pytest.raises(InputError, match="one process at a time"):
            prepare(cone_spec, *files, tmp_path / "d.zarr")
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared_samples.Preparation, "add", during)
    with pytest.raises(KeyboardInterrupt):
        prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert not list(tmp_path.glob(".*"))  # nothing was complete


def test_what_a_kill_after_the_last_rename_leaves_does_no_harm(
    tmp_path, cone_spec, files, monkeypatch
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(cone_spec, *files, tmp_path / "d.zarr")
    assert len(list(tmp_path.glob(".*.unfinished/complete/sample-*"))) == 3
    (tmp_path / "d.zarr").rename(tmp_path / "e.zarr")
    prepare(cone_spec, *files, tmp_path / "d.zarr")  # made anew: the output was renamed
    assert not list(tmp_path.glob(".*"))
