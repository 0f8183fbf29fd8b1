"""An exchange leaves the old file or the new one, with and without help of the system."""

import ctypes
import errno

import pytest

from normalfit import exchange
from normalfit.exchange import aside, put_in_place, recover


@pytest.fixture(params=[True, False], ids=["atomic", "through aside"])
def renames(request, monkeypatch):
    """Run with what the system has, and without."""
    if not request.param:
        monkeypatch.setattr(exchange, "_renameat2", lambda: None)
    elif exchange._renameat2() is None:
        pytest.skip("needs renameat2")


@pytest.fixture(params=["file", "folder"])
def make(request):
    def make_one(path, text):
        if request.param == "folder":
            path.mkdir()
            (path / "inside").write_text(text)
        else:
            path.write_text(text)
        return path

    return make_one


def read(path):
    return (path / "inside" if path.is_dir() else path).read_text()


@pytest.mark.usefixtures("renames")
def test_a_new_one(tmp_path, make):
    put_in_place(make(tmp_path / "fresh", "new"), tmp_path / "target", overwrite=False)
    assert read(tmp_path / "target") == "new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("renames")
def test_an_old_one_is_kept_or_replaced(tmp_path, make):
    fresh, target = make(tmp_path / "fresh", "new"), make(tmp_path / "target", "old")
    with pytest.raises(FileExistsError):
        put_in_place(fresh, target, overwrite=False)
    assert (read(fresh), read(target)) == ("new", "old")
    put_in_place(fresh, target, overwrite=True)
    assert read(target) == "new"
    assert not aside(target).exists()


@pytest.mark.usefixtures("renames")
def test_what_was_moved_aside_comes_back(tmp_path, make):
    target = tmp_path / "target"
    make(aside(target), "old")
    recover(target)
    assert read(target) == "old"
    make(aside(target), "older")  # of a writer killed before its last line
    recover(target)
    assert read(target) == "old"
    put_in_place(make(tmp_path / "fresh", "new"), target, overwrite=True)
    assert read(target) == "new"
    assert not aside(target).exists()


def test_a_system_that_says_no_is_told_from_a_failure(tmp_path, monkeypatch):
    (tmp_path / "fresh").write_text("new")
    (tmp_path / "target").write_text("old")
    for code, works in ((errno.EINVAL, True), (errno.EIO, False)):
        monkeypatch.setattr(exchange, "_renameat2", lambda: lambda *_: -1)
        monkeypatch.setattr(ctypes, "get_errno", lambda code=code: code)
        if works:
            put_in_place(tmp_path / "fresh", tmp_path / "target", overwrite=True)
            (tmp_path / "fresh").write_text("newer")
        else:
            with pytest.raises(OSError, match="Input/output"):
                put_in_place(tmp_path / "fresh", tmp_path / "target", overwrite=True)
    assert (tmp_path / "target").read_text() == "new"


def test_long_names_fit(tmp_path):
    assert len(aside(tmp_path / ("ä" * 127)).name) < 60


def test_another_process_that_recovers_faster_is_no_failure(tmp_path, monkeypatch):
    target = tmp_path / "target"
    aside(target).write_text("old")

    def faster(source, destination, flag):
        source.rename(destination)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(exchange, "_renamed", faster)
    recover(target)
    assert target.read_text() == "old"
