"""Files made to deceive: what they say is shown or refused, and no reading of them hangs."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from normalfit.errors import CorruptFileError
from normalfit.factor_file import open_factors, save_factors, validate
from normalfit.factor_file.manifest import MANIFEST, parse_manifest, rendered, write_manifest
from normalfit.factor_file.summary import figures, summary
from normalfit.grid import Patch
from normalfit.written_beside import written_beside


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(terms=2), metadata)
    return tmp_path / "f.zarr"


def edit(path, change):
    document = json.loads((path / "zarr.json").read_text())
    change(document)
    (path / "zarr.json").write_text(json.dumps(document))
    write_manifest(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_not_read(path, kind):
    if kind == "pipe":
        os.mkfifo(path / "x")
    else:
        (path / "x").symlink_to("/dev/zero")
    digests = parse_manifest((path / MANIFEST).read_bytes())
    (path / MANIFEST).write_bytes(rendered({**digests, "x": "0" * 64}))
    assert ("x", "must be a file, got something else") in validate(path, deep=True).problems


def test_an_operator_without_a_kind_is_shown(path):
    edit(path, lambda document: document["attributes"].update(operator={}))
    assert "unknown kind" in summary(open_factors(path))


@pytest.mark.parametrize("name", ["seconds", "grid_error"])
def test_numbers_beyond_every_float_are_not_shown_as_figures(path, name):
    huge = 10**400
    error = {"value": huge, "low": huge, "high": huge, "probes": 2}
    value = huge if name == "seconds" else error
    edit(path, lambda document: document["attributes"]["report"].update({name: value}))
    file = open_factors(path)
    assert str(huge) not in summary(file)
    assert figures(file)["report"][name] == value


def test_a_key_twice_is_refused(path):
    text = (path / "zarr.json").read_text()
    assert text.count('"adjointness"') == 1
    (path / "zarr.json").write_text(
        text.replace('"adjointness"', '"adjointness": 1, "adjointness"')
    )
    write_manifest(path)
    with pytest.raises(CorruptFileError, match="keys must be there once"):
        open_factors(path)


def test_consolidated_metadata_is_refused(path):
    inline = {"kind": "inline", "must_understand": False, "metadata": {}}
    edit(path, lambda document: document.update(consolidated_metadata=inline))
    with pytest.raises(CorruptFileError, match="must have no consolidated_metadata"):
        open_factors(path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux' list of open files")
def test_a_refused_archive_is_closed(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", b"{}" * 100)
    with pytest.raises(CorruptFileError, match="uncompressed") as caught:
        open_factors(tmp_path / "f.zip")
    held = {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}
    assert "f.zip" in str(caught.value)  # its traceback keeps the frames alive that opened the file
    assert str(tmp_path / "f.zip") not in held


@pytest.mark.parametrize("name", ["f.zarr", "f.zip"])
def test_a_file_that_is_replaced_is_not_mixed_with_its_successor(
    tmp_path, make_factors, metadata, name
):
    path = tmp_path / name
    file = save_factors(path, make_factors(terms=2), metadata)
    save_factors(path, make_factors(terms=2).scaled(2.0), metadata, overwrite=True)
    for read in (file.load, lambda: file.restrict(Patch((0, 0, 0), (2, 2, 2)))):
        with pytest.raises(CorruptFileError, match="got another in its place; open it again"):
            read()
    assert open_factors(path).load().terms == 2


def test_a_file_of_version_0_1_that_is_replaced(tmp_path, make_factors, metadata):
    old = Path(__file__).parent / "golden/0.1/linear.zarr"
    shutil.copytree(old, tmp_path / "f.zarr")
    file = open_factors(tmp_path / "f.zarr")
    assert file.load().terms == 1
    save_factors(tmp_path / "f.zarr", make_factors(), metadata, overwrite=True)
    with pytest.raises(CorruptFileError, match="open it again"):
        file.load()


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        ("check/zarr.json", lambda _: "junk", "must be JSON"),
        ("check/zarr.json", lambda text: text.replace("{}", '{"a": 1}'), "must have no attributes"),
        (
            "zarr.json",
            lambda text: text.replace('"zarr_format"', '"more": 1, "zarr_format"'),
            "keys",
        ),
        (
            "zarr.json",
            lambda text: text.replace('"adjointness": 1e-08', '"adjointness": 1e999'),
            "must be finite",
        ),
        (
            "zarr.json",
            lambda text: re.sub(r'"created": "[^"]*"', '"created": "now"', text),
            "pattern",
        ),
        (
            "u/zarr.json",
            lambda text: re.sub(r'"codecs": \[.*\]', '"codecs": "x"', text, flags=re.S),
            "",
        ),
    ],
)
def test_what_the_page_forbids_is_reported_at_its_place(
    tmp_path, make_factors, metadata, place, change, said
):
    path = tmp_path / "f.zarr"
    save_factors(path, make_factors(), metadata)
    text = (path / place).read_text()
    (path / place).write_text(change(text))
    assert (path / place).read_text() != text
    write_manifest(path)
    problems = validate(path).problems
    assert any(said in text for _, text in problems), problems
    assert place in {found for found, _ in problems} | {"zarr.json"}


def test_a_chunk_that_is_a_link_is_none(tmp_path, make_factors, metadata):
    path = tmp_path / "f.zarr"
    save_factors(path, make_factors(), metadata)
    shutil.move(path / "u/c/0/0/0/0", tmp_path / "chunk")
    (path / "u/c/0/0/0/0").symlink_to(tmp_path / "chunk")
    with pytest.raises(CorruptFileError, match="chunk 0/0/0/0 of u must exist"):
        open_factors(path).load()
    assert "u/c/0/0/0/0" in {place for place, _ in validate(path).problems}


def test_a_result_that_cannot_be_put_in_place_is_not_lost(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("normalfit.written_beside.put_in_place", fail)
    with (
        pytest.raises(OSError, match=r"busy; the result is .*\.partial/f"),
        written_beside(tmp_path / "f") as fresh,
    ):
        fresh.write_text("result")
    assert fresh.read_text() == "result"
