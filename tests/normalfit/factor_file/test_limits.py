"""Nothing is allocated for what a file only says, and every refusal has its type."""

import json
import struct

import pytest
import zarr

from normalfit.errors import (
    CorruptFileError,
    FactorFileError,
    LimitError,
    NotAFactorFileError,
    UnsupportedVersionError,
)
from normalfit.factor_file import Limits, load_factors, open_factors, save_factors
from normalfit.factor_file.frames import content_size
from normalfit.factor_file.manifest import write_manifest


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(terms=2), metadata)
    return tmp_path / "f.zarr"


def edit(path, change):
    document = json.loads((path / "zarr.json").read_text())
    change(document["attributes"])
    (path / "zarr.json").write_text(json.dumps(document))
    write_manifest(path)


def test_a_grid_of_1e27_voxels(path):
    side = 10**9

    def grow(attributes):
        attributes["shape"] = [side] * 3
        attributes["arrays"]["kernel"] |= {"shape": [2, 7, 7, 7], "chunks": [1, 7, 7, 7]}
        attributes["arrays"]["u"] |= {"shape": [2, *[side] * 3], "chunks": [1, 64, 64, 64]}
        attributes["check"] = {"offset": [0] * 3, "shape": [6, 5, 4], "seed": 0}

    edit(path, grow)
    with pytest.raises(LimitError, match=r"u must have at most \d+ bytes, got 8000000000"):
        open_factors(path)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"metadata_bytes": 100}, "zarr.json must have at most 100 bytes"),
        ({"array_bytes": 100}, "kernel must have at most 100 bytes"),
        ({"num_chunks": 1}, "kernel must have at most 1 chunks, got 2"),
    ],
)
def test_a_reader_may_set_its_own(path, limits, said):
    with pytest.raises(LimitError, match=said):
        open_factors(path, Limits(**limits))


def test_a_chunk_that_says_it_unpacks_to_a_terabyte(path):
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", 2**40)
    assert content_size(frame) == 2**40
    (path / "u/c/0/0/0/0").write_bytes(frame)
    with pytest.raises(CorruptFileError, match=rf"must be a zstd frame of 480 bytes, got {2**40}"):
        load_factors(path)


def test_a_chunk_that_is_a_whole_disk(path):
    with (path / "u/c/0/0/0/0").open("r+b") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(CorruptFileError, match="must have at most 1984 bytes"):
        load_factors(path)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1000, 65791, 65792, 10**6])
def test_content_sizes_are_those_that_zstd_writes(size):
    from numcodecs.zstd import Zstd

    assert content_size(Zstd(level=1).encode(b"\0" * size)[:18]) in {
        size,
        None if size == 0 else size,
    }


@pytest.mark.parametrize("head", [b"", b"\x28\xb5", b"\x28\xb5\x2f\xfd", b"PK\3\4" * 5])
def test_what_is_no_frame_has_no_size(head):
    assert content_size(head) is None


def test_every_refusal_has_its_type(tmp_path, path):
    kinds = [
        (NotAFactorFileError, lambda: open_factors(tmp_path / "none.zarr")),
        (NotAFactorFileError, lambda: open_factors(_group(tmp_path / "g.zarr"))),
        (UnsupportedVersionError, lambda: open_factors(_changed(path, version="2.0"))),
        (CorruptFileError, lambda: open_factors(_changed(path, version="1.0", shape=[1]))),
    ]
    for kind, read in kinds:
        with pytest.raises(kind) as caught:
            read()
        assert isinstance(caught.value, FactorFileError)


def _group(path):
    zarr.create_group(path)
    return path


def _changed(path, **values):
    edit(path, lambda attributes: attributes.update(values))
    return path


def test_a_later_minor_version_is_read(path):
    unknown = {"must_understand": False, "anything": [1, 2]}
    assert open_factors(_changed(path, version="1.7", colour=unknown)).terms == 2


@pytest.mark.parametrize("value", [1, {"must_understand": True}, {}, {"must_understand": 0}, None])
def test_unknown_keys_are_refused_unless_they_are_marked(path, value):
    with pytest.raises(CorruptFileError, match="colour: Extra inputs are not permitted"):
        open_factors(_changed(path, colour=value))


def test_a_known_key_cannot_be_marked_away(path):
    with pytest.raises(CorruptFileError, match="norm"):
        open_factors(_changed(path, norm={"must_understand": False}))
