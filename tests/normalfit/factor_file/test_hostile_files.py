"""Files made to deceive: what they say is shown or refused, and no reading of them hangs."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from normalfit.errors import CorruptFileError
from normalfit.factor_file import open_factors, save_factors, validate
from normalfit.factor_file.manifest import MANIFEST, parse_manifest, rendered, write_manifest
from normalfit.factor_file.summary import figures, summary


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
