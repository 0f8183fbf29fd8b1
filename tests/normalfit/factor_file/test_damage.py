"""Whatever happens to a factor file, reading it gives its factors or one FactorFileError."""

import json
import shutil

import pytest
import torch
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from normalfit.errors import FactorFileError
from normalfit.factor_file import open_factors, save_factors
from normalfit.factor_file.manifest import write_manifest


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zarr", make_factors(terms=2), metadata)
    return tmp_path / "f.zarr"


def assert_refused(path, match):
    with pytest.raises(FactorFileError, match=match) as caught:
        open_factors(path).load()
    assert str(path) in str(caught.value)


def edit(path, change, *, sealed=True):
    """Change the attributes; with a new manifest, as a writer with a defect would."""
    document = json.loads((path / "zarr.json").read_text())
    change(document["attributes"])
    (path / "zarr.json").write_text(json.dumps(document))
    if sealed:
        write_manifest(path)


def test_nothing_there(tmp_path):
    assert_refused(tmp_path / "none.zarr", "must be a factor file")


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "f.zarr").write_bytes(b"PK")
    assert_refused(tmp_path / "f.zarr", "must be a factor file")


def test_another_zarr_group(tmp_path):
    zarr.create_group(tmp_path / "f.zarr", attributes={"format": "other"})
    assert_refused(tmp_path / "f.zarr", "format must be 'normalfit-factors', got 'other'")


@pytest.mark.parametrize("version", ["0.2", "2.0", "99", "0.0", None, 0.1])
def test_another_version(path, version):
    edit(path, lambda attributes: attributes.update(version=version))
    assert_refused(path, r"version must be 0\.1 or 1\.x.*install the normalfit that wrote it")


@pytest.mark.parametrize("name", ["kernel", "u"])
def test_a_missing_chunk_is_not_zeros(path, name):
    (path / name / "c/1/0/0/0").unlink()
    assert_refused(path, f"chunk 1/0/0/0 of {name} must exist")


@pytest.mark.parametrize("name", ["kernel", "u"])
@pytest.mark.parametrize("kept", [0, 3, -1])
def test_a_truncated_chunk(path, name, kept):
    chunk = path / name / "c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    assert_refused(path, "sound factor file")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_chunk(path, position, bit):
    chunk = path / "kernel/c/0/0/0/0"
    sound = chunk.read_bytes()
    damaged = bytearray(sound)
    damaged[int(position * len(damaged))] ^= 1 << bit
    chunk.write_bytes(damaged)
    try:
        assert_refused(path, "sound factor file")
    finally:
        chunk.write_bytes(sound)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_to_a_header_gives_the_factors_or_one_error(path, data):
    """Damage in a place without a meaning (zarr's own attributes, white space) may pass."""
    place = data.draw(st.sampled_from(["zarr.json", "kernel/zarr.json", "u/zarr.json"]))
    expected = open_factors(path).load()
    sound = (path / place).read_bytes()
    position = data.draw(st.integers(0, len(sound) - 1))
    replacement = data.draw(st.binary(max_size=2))
    (path / place).write_bytes(sound[:position] + replacement + sound[position + 1 :])
    try:
        found = open_factors(path).load()
    except FactorFileError:
        pass
    else:
        assert torch.equal(found.kernel.values, expected.kernel.values)
        assert found.u is not None
        assert expected.u is not None
        assert torch.equal(found.u, expected.u)
    finally:
        (path / place).write_bytes(sound)


@pytest.mark.parametrize("place", ["zarr.json", "kernel/zarr.json"])
@pytest.mark.parametrize("kept", [0, 10, -5])
def test_a_truncated_header(path, place, kept):
    text = (path / place).read_bytes()
    (path / place).write_bytes(text[:kept])
    assert_refused(path, "sound factor file")


def test_an_attribute_changed_without_its_checksum(path):
    edit(path, lambda attributes: attributes["norm"].update(value=2.0), sealed=False)
    assert_refused(path, "zarr.json must have the SHA-256 that manifest")


@pytest.mark.parametrize("name", ["kernel", "u"])
def test_a_missing_array(path, name):
    shutil.rmtree(path / name)
    assert_refused(path, "sound factor file")


def test_an_array_without_checksums(path, make_factors):
    values = make_factors(terms=2).u.numpy()
    shutil.rmtree(path / "u")
    chunks = (1, *values.shape[1:])
    zarr.open_group(path).create_array("u", data=values, chunks=chunks, compressors=ZstdCodec())
    assert_refused(path, r"u: codecs must be \['bytes', 'zstd', 'crc32c'\]")


def test_an_array_of_another_byte_order(path):
    text = (path / "u/zarr.json").read_text()
    (path / "u/zarr.json").write_text(text.replace('"little"', '"big"'))
    assert_refused(path, "u: byte order must be little, got big")


@pytest.mark.parametrize("name", ["kernel", "u"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("chunk_key_encoding", {"name": "default", "configuration": {"separator": "."}}),
        ("chunk_key_encoding", {"name": "v2", "configuration": {"separator": "/"}}),
        ("chunk_key_encoding", {"name": "v2"}),
        ("fill_value", 1.0),
        ("fill_value", "NaN"),
    ],
)
def test_chunks_under_other_keys_are_not_zeros(path, name, key, value):
    document = json.loads((path / name / "zarr.json").read_text())
    document[key] = value
    (path / name / "zarr.json").write_text(json.dumps(document))
    assert_refused(path, f"{name}: {key} must be")


@pytest.mark.parametrize("change", [('"/"', '"."'), ('"default"', '"v2"')])
def test_one_flipped_bit_in_the_chunk_keys_is_refused(path, change):
    text = (path / "kernel/zarr.json").read_text()
    assert text.count(change[0]) == 1
    (path / "kernel/zarr.json").write_text(text.replace(*change))
    assert_refused(path, "kernel: chunk_key_encoding must be")


def test_storage_transformers_are_refused(path):
    document = json.loads((path / "u/zarr.json").read_text())
    document["storage_transformers"] = [{"name": "other"}]
    (path / "u/zarr.json").write_text(json.dumps(document))
    assert_refused(path, "sound factor file.*[Tt]ransformers")


def test_an_array_of_another_shape(path, make_factors):
    values = make_factors(shape=(5, 5, 4), terms=2).u.numpy()
    shutil.rmtree(path / "u")
    zarr.open_group(path).create_array(
        "u",
        data=values,
        chunks=(1, *values.shape[1:]),
        compressors=[ZstdCodec(), Crc32cCodec()],
    )
    assert_refused(path, r"u: shape must be \(2, 6, 5, 4\), got \(2, 5, 5, 4\)")


def test_a_shape_that_lies_is_refused_before_anything_is_allocated(path):
    side = 10_000_000  # 800 MB in u, which has one chunk

    def grow(attributes):
        attributes["shape"] = [side, 5, 4]
        entry = {"shape": [1, side, 5, 4], "dtype": "float32", "chunks": [1, 64, 5, 4]}
        attributes["arrays"]["u"] = entry

    edit(path, grow)
    document = json.loads((path / "u/zarr.json").read_text())
    document["shape"] = [1, side, 5, 4]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [1, 64, 5, 4]
    (path / "u/zarr.json").write_text(json.dumps(document))
    assert_refused(path, "chunk 0/0/0/0 of u must be a zstd frame of 5120 bytes")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shape": [6, 5]}, "boundary must have 2 entries"),
        ({"shape": [6, 5, 0]}, "shape.2: Input should be greater than or equal to 1"),
        ({"shape": []}, "shape: Tuple should have at least 1 item"),
        ({"boundary": ["linear", "open", "linear"]}, "boundary.1: Input should be 'periodic'"),
        ({"voxel_mm": [1.0, -1.0, 1.0]}, "voxel_mm.1: Input should be greater than 0"),
        ({"dtype": "float16"}, "dtype: Input should be"),
        ({"dtype": "float64"}, "arrays.kernel must be float64 as the attribute says, got float32"),
        ({"arrays": {}}, "arrays must hold a kernel"),
        ({"fingerprint": ""}, "fingerprint: String should have at least 1 character"),
        ({"norm": {"value": 1.0, "converged": 1, "iterations": 3}}, "norm.converged"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ],
)
def test_a_header_that_contradicts_itself(path, change, problem):
    edit(path, lambda attributes: attributes.update(change))
    assert_refused(path, problem)


def test_chunks_of_another_size_are_refused(path):
    edit(path, lambda attributes: attributes["arrays"]["u"].update(chunks=[1, 6, 5, 2]))
    assert_refused(path, r"arrays.u: chunks must be \(1, 6, 5, 4\), got \(1, 6, 5, 2\)")


def test_every_problem_of_a_header_is_listed(path):
    edit(path, lambda attributes: attributes.update(adjointness=-1.0, created=3, dtype="int8"))
    assert_refused(path, "(?s)dtype.*adjointness.*created")


def test_an_array_with_a_name_that_leaves_the_folder(path):
    entry = {"shape": [2], "dtype": "float32", "chunks": [2]}
    edit(path, lambda attributes: attributes["arrays"].update({"operator/../../x": entry}))
    assert_refused(path, "name must be kernel, u, v or operator/FIELD")
