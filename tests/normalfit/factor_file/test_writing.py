"""A factor file appears complete or not at all, and an old one is never lost."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from zarr.storage import LocalStore

from normalfit import exchange
from normalfit.errors import FactorFileError, InputError, MismatchError
from normalfit.factor_file import load_factors, save_factors, writer
from normalfit.factor_file.arrays import write_array
from normalfit.written_beside import check_output, remove_leftovers, written_beside


@pytest.fixture
def old(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    return tmp_path / "f.zarr"


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_but_the_file_is_left(old):
    assert [p.name for p in old.parent.iterdir()] == ["f.zarr"]


def test_an_existing_target_is_refused_and_untouched(old, make_factors, metadata):
    before = contents(old.parent)
    with pytest.raises(InputError, match=r"output must not exist yet, got .*f\.zarr"):
        save_factors(old, make_factors(terms=2), metadata)
    assert contents(old.parent) == before


def test_overwrite_replaces_it(old, make_factors, metadata):
    fresh = make_factors(terms=2)
    save_factors(old, fresh, metadata, overwrite=True)
    assert torch.equal(load_factors(old).kernel.values, fresh.kernel.values)
    assert [p.name for p in old.parent.iterdir()] == ["f.zarr"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_while_writing_leaves_everything_as_it_was(
    old, make_factors, metadata, monkeypatch, overwrite
):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = contents(old.parent)
    target = old if overwrite else old.with_name("g.zarr")
    monkeypatch.setattr(writer, "write_array", fail)
    with pytest.raises(OSError, match="No space left"):
        save_factors(target, make_factors(), metadata, overwrite=overwrite)
    assert contents(old.parent) == before
    assert not list(old.parent.glob(".*"))


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, make_factors, metadata, monkeypatch):
    written = []

    async def fail_at_the_third(store, key, value, **_):
        if "/c/" in key:
            written.append(key)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        await put(store, key, value)

    put = LocalStore.set
    monkeypatch.setattr(LocalStore, "set", fail_at_the_third)
    factors = make_factors(shape=(200, 200))
    with pytest.raises(OSError, match="No space left"):
        save_factors(tmp_path / "f.zarr", factors, dataclasses.replace(metadata, voxel_mm=None))
    assert len(written) == 3
    assert not list(tmp_path.iterdir())


def test_a_failure_while_exchanging_brings_the_old_one_back(
    old, make_factors, metadata, monkeypatch
):
    rename = Path.rename

    def fail_once(self, target):
        if self.parent.name.endswith(".partial") and self.name == "f.zarr":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    before = contents(old)
    monkeypatch.setattr(exchange, "_renamed", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        save_factors(old, make_factors(terms=2), metadata, overwrite=True)
    assert contents(old) == before


def test_a_target_that_appears_meanwhile_is_kept_and_so_is_the_result(tmp_path):
    target = tmp_path / "f.zarr"
    beside = written_beside(target)
    fresh = beside.__enter__()
    fresh.write_text("fresh")
    target.write_text("of somebody else")
    with pytest.raises(InputError, match=r"made meanwhile; the result is .*\.partial/f\.zarr"):
        beside.__exit__(None, None, None)
    assert target.read_text() == "of somebody else"
    assert fresh.read_text() == "fresh"


def test_a_file_that_reads_back_otherwise_is_not_put_in_place(
    tmp_path, make_factors, metadata, monkeypatch
):
    def write_wrongly(group, name, values):
        return write_array(group, name, values + 1 if name == "u" else values)

    monkeypatch.setattr(writer, "write_array", write_wrongly)
    with pytest.raises(FactorFileError, match="u must read back as it was written"):
        save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    assert not list(tmp_path.iterdir())


def test_left_overs_of_a_killed_run_block_nobody(tmp_path, make_factors, metadata):
    left_over = tmp_path / ".normalfit-abc.partial/f.zarr"
    left_over.mkdir(parents=True)
    save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    assert (tmp_path / "f.zarr").is_dir()
    assert left_over.is_dir()


def test_overwrite_takes_factor_files_only(tmp_path, make_factors, metadata):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.tex").write_text("x")
    (tmp_path / "notes").write_text("x")
    for name in ("precious", "notes"):
        with pytest.raises(InputError, match="overwrite must be of a factor file"):
            save_factors(tmp_path / name, make_factors(), metadata, overwrite=True)
    assert (tmp_path / "precious/thesis.tex").read_text() == "x"


def test_a_missing_folder_is_refused(tmp_path, make_factors, metadata):
    with pytest.raises(InputError, match="folder of the output must exist"):
        save_factors(tmp_path / "none/f.zarr", make_factors(), metadata)


def test_the_file_has_the_permissions_of_any_other(tmp_path, make_factors, metadata):
    (tmp_path / "plain").mkdir()
    save_factors(tmp_path / "f.zarr", make_factors(), metadata)
    assert (tmp_path / "f.zarr").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_target_may_have_any_name(tmp_path, make_factors, metadata):
    for name in ("replaced", "x.replaced", "ä b"):
        save_factors(tmp_path / name, make_factors(), metadata)
        save_factors(tmp_path / name, make_factors(), metadata, overwrite=True)
    assert load_factors(tmp_path / "replaced").terms == 1


def test_a_fingerprint_that_is_not_the_specs_is_refused(tmp_path, make_factors, metadata):
    class Spec:
        fingerprint = "1" * 64
        arrays: ClassVar[dict[str, object]] = {}

    with pytest.raises(MismatchError, match="fingerprint must be the spec's, 1111"):
        save_factors(
            tmp_path / "f.zarr", make_factors(), dataclasses.replace(metadata, spec=Spec())
        )


@pytest.mark.parametrize("name", ["x" * 250, "ä" * 125, "x" * 241 + ".replaced", "y" * 255])
def test_long_names_are_written_and_replaced(tmp_path, name):
    for text in ("first", "second"):
        with written_beside(tmp_path / name, overwrite=True) as fresh:
            fresh.write_text(text)
    assert (tmp_path / name).read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128])
def test_a_name_that_is_too_long_is_refused_before_anything_is_computed(tmp_path, name):
    with pytest.raises(InputError, match="must have at most 255 bytes"):
        check_output(tmp_path / name)


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    target = tmp_path / "data.zarr"
    for name, inside in (("a", ["data.zarr"]), ("b", []), ("c", ["other.zarr"])):
        folder = tmp_path / f".normalfit-{name}.partial"
        for path in (folder, *(folder / part for part in inside)):
            path.mkdir()
    (tmp_path / ".normalfit-d.partial").write_text("a file")
    remove_leftovers(target)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".normalfit-c.partial",
        ".normalfit-d.partial",
    }
