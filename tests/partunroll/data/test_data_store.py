"""A store gives back what was put in, whole or by patch, or says what is wrong with it."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import zarr

from normalfit.errors import InputError as NormalfitInputError
from normalfit.grid import Patch
from partunroll.errors import DataStoreError, InputError
from partunroll.store.data_store import DataStore, SampleInfo, create_store
from partunroll.store.data_store_arrays import CheckedArray, write_array
from partunroll.store.data_store_header import SAMPLE_ARRAYS
from partunroll.volumes.volume_file import read_measurements, read_volume

SHAPE = (40, 33, 65)  # several chunks along each axis, the last ones cut
VIEWS = (3, 8, 9)


def _arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(VIEWS if name == "measurements" else SHAPE, dtype=np.float32)
        for name in SAMPLE_ARRAYS
    }


def _info(sample_id="one", **changes):
    known = {
        "id": sample_id,
        "operator": "cone",
        "split": "train",
        "source": "a.npz",
        "inverse_crime": False,
        "intensity_per_mm": 0.02,
        "noise": {"kind": "photons", "photons": 1e5},
    }
    return SampleInfo(**{**known, **changes})


@pytest.fixture
def store_path(tmp_path, cone_spec, parallel_spec):
    path = tmp_path / "data.zarr"
    specs = {"cone": cone_spec, "parallel": parallel_spec}
    with create_store(path, specs, {"seed": 7}) as writer:
        writer.add_sample(_info(), _arrays())
        other = _info("two", operator="parallel", split="validation", inverse_crime=None)
        writer.add_sample(other, _arrays(1))
    return path


def test_samples_come_back_as_they_were(store_path):
    store = DataStore.open(store_path)
    assert store.samples[0] == _info()
    assert [s.id for s in store.split("validation")] == ["two"]
    for sample, seed in (("one", 0), ("two", 1)):
        for name, values in _arrays(seed).items():
            np.testing.assert_array_equal(store.read(sample, name), values)
            assert store.read(sample, name).dtype == np.float32


def test_operators_come_back_with_their_arrays(store_path, cone_spec, parallel_spec):
    specs = DataStore.open(store_path).operators
    assert specs["cone"].fingerprint == cone_spec.fingerprint
    assert specs["parallel"].fingerprint == parallel_spec.fingerprint
    assert specs["parallel"].build().range.shape == (15, 16, 24)


def test_the_store_says_how_it_was_made(store_path):
    made = DataStore.open(store_path).made
    assert made["seed"] == 7
    assert {"command", "created", "versions"} <= set(made)


@pytest.mark.parametrize(
    "patch",
    [
        Patch((0, 0, 0), (1, 1, 1)),
        Patch((31, 30, 60), (2, 3, 5)),
        Patch((8, 0, 32), (32, 33, 33)),
        Patch((0, 0, 0), SHAPE),
    ],
)
def test_a_patch_is_a_slice_of_the_whole(store_path, patch):
    store = DataStore.open(store_path)
    whole = _arrays()["reference"]
    np.testing.assert_array_equal(store.read("one", "reference", patch), whole[patch.slices])


def test_a_patch_needs_only_its_chunks(store_path):
    reference = store_path / "samples" / "one" / "reference" / "c"
    (reference / "1" / "1" / "2").unlink()
    store = DataStore.open(store_path)
    patch = Patch((0, 0, 0), (32, 32, 64))
    np.testing.assert_array_equal(
        store.read("one", "reference", patch), _arrays()["reference"][patch.slices]
    )
    with pytest.raises(DataStoreError, match="chunk 1/1/2 of reference must exist"):
        store.read("one", "reference")


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.float64, np.complex64])
def test_chunks_of_zeros_are_written_for_every_type(tmp_path, dtype):
    values = np.zeros((4, 4), dtype=dtype)
    values[3, 3] = 1
    entry = write_array(tmp_path / "a", values, (2, 2))
    np.testing.assert_array_equal(CheckedArray(tmp_path / "a", entry).read(), values)


def test_measurements_are_chunked_by_view(store_path):
    assert zarr.open_array(store_path / "samples/one/measurements").chunks == (1, 8, 9)


def test_a_flipped_bit_is_found(store_path):
    chunk = store_path / "samples" / "one" / "reference" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(DataStoreError, match="must be sound"):
        DataStore.open(store_path).read("one", "reference", Patch((0, 0, 0), (2, 2, 2)))


def test_a_store_pickles_without_what_it_has_opened(store_path):
    store = DataStore.open(store_path)
    store.read("one", "reference")
    content = pickle.dumps(store)
    assert len(content) < 20_000
    again = pickle.loads(content)  # noqa: S301 - made above
    np.testing.assert_array_equal(again.read("one", "reference"), _arrays()["reference"])


def test_a_failure_leaves_neither_target_nor_blocker(tmp_path, cone_spec):
    path = tmp_path / "data.zarr"

    def interrupted():
        with create_store(path, {"cone": cone_spec}, {}) as writer:
            writer.add_sample(_info(), _arrays())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with create_store(path, {"cone": cone_spec}, {}) as writer:
        assert not path.exists()
        writer.add_sample(_info(), _arrays())
    assert [p.name for p in tmp_path.iterdir()] == ["data.zarr"]


def test_an_existing_target_is_refused_and_kept(store_path, cone_spec):
    with (
        pytest.raises(NormalfitInputError, match="must not exist yet"),
        create_store(store_path, {"cone": cone_spec}, {}),
    ):
        pytest.fail("the block must not run")
    assert len(DataStore.open(store_path).samples) == 2


def test_what_is_no_store_is_refused(tmp_path, store_path):
    with pytest.raises(DataStoreError, match="got nothing there"):
        DataStore.open(tmp_path / "missing.zarr")
    zarr.create_group(tmp_path / "other.zarr", attributes={"format": "normalfit-factors"})
    with pytest.raises(DataStoreError, match=r"format must be .*, got 'normalfit-factors'"):
        DataStore.open(tmp_path / "other.zarr")
    with pytest.raises(DataStoreError, match="got something else"):
        DataStore.open(store_path / "samples" / "one" / "reference" / "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(version="9.0"), "version must be 0.1, .*got '9.0'"),
        (lambda a: a["samples"][0]["info"].update(source="b"), "checksum of the header"),
        (lambda a: a.pop("checksum"), "checksum of the header"),
    ],
)
def test_a_changed_header_is_refused(store_path, change, message):
    document = json.loads((store_path / "zarr.json").read_text())
    change(document["attributes"])
    (store_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DataStoreError, match=message):
        DataStore.open(store_path)


def test_truncated_files_are_refused(store_path):
    header = store_path / "zarr.json"
    text = header.read_text()
    header.write_text(text[: len(text) // 2])
    with pytest.raises(DataStoreError, match="must be sound"):
        DataStore.open(store_path)
    header.write_text(text)
    (store_path / "samples" / "one" / "reference" / "zarr.json").write_text("{}")
    with pytest.raises(DataStoreError, match="must be sound"):
        DataStore.open(store_path).read("one", "reference")


def test_names_and_patches_are_checked(store_path):
    store = DataStore.open(store_path)
    with pytest.raises(InputError, match="one of one, two, got 'three'"):
        store.read("three", "reference")
    with pytest.raises(InputError, match="got 'sinogram'"):
        store.read("one", "sinogram")
    with pytest.raises(NormalfitInputError, match="inside the grid"):
        store.read("one", "reference", Patch((0, 0, 0), (41, 1, 1)))


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        (_info(operator="unknown"), _arrays(), "operator 'unknown'"),
        (_info(), {"reference": _arrays()["reference"]}, "arrays must include"),
        (_info(), {**_arrays(), "sinogram": np.zeros(3)}, "sinogram"),
        (_info(), {**_arrays(), "reference": np.full(SHAPE, np.nan)}, "reference must be finite"),
    ],
)
def test_bad_samples_are_refused(tmp_path, cone_spec, info, arrays, message):
    with (
        pytest.raises(InputError, match=message),
        create_store(tmp_path / "data.zarr", {"cone": cone_spec}, {}) as writer,
    ):
        writer.add_sample(info, arrays)
    assert not (tmp_path / "data.zarr").exists()


def test_a_store_without_samples_is_refused(tmp_path, cone_spec):
    with (
        pytest.raises(InputError, match="samples"),
        create_store(tmp_path / "data.zarr", {"cone": cone_spec}, {}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_ids_are_unique(tmp_path, cone_spec):
    with create_store(tmp_path / "data.zarr", {"cone": cone_spec}, {}) as writer:
        writer.add_sample(_info(), _arrays())
        with pytest.raises(InputError, match="new id"):
            writer.add_sample(_info(), _arrays())


def test_arrays_of_a_store_can_be_read_as_files(store_path, cone_spec):
    measured = read_measurements(store_path / "samples" / "one" / "measurements")
    np.testing.assert_array_equal(measured.values, _arrays()["measurements"])
    assert measured.attributes["fingerprint"] == cone_spec.fingerprint
    assert measured.attributes["operator"] == "cone"
    assert measured.attributes["intensity_per_mm"] == 0.02
    volume, _ = read_volume(store_path / "samples" / "one" / "reference")
    np.testing.assert_array_equal(volume, _arrays()["reference"])


def test_a_missing_chunk_is_no_zeros_for_other_readers_either(store_path):
    (store_path / "samples" / "one" / "measurements" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(InputError, match="got 72 NaN"):
        read_measurements(store_path / "samples" / "one" / "measurements")


def test_a_store_of_version_0_1_is_read(store_path):
    """It had no digests, and its header's own hash is over what it had."""
    file = store_path / "zarr.json"
    document = json.loads(file.read_text())
    header = document["attributes"]
    header["version"] = "0.1"
    digest = header["samples"][0]["arrays"]["reference"]["sha256"]
    assert digest == hashlib.sha256(_arrays()["reference"].tobytes()).hexdigest()
    parts = [*header["samples"], *header["operators"].values()]
    for part in parts:
        for entry in part["arrays"].values():
            del entry["sha256"]
    del header["checksum"]
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    header["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(document))
    store = DataStore.open(store_path)
    np.testing.assert_array_equal(store.read("one", "reference"), _arrays()["reference"])
    del header["checksum"]
    header["made"] = {"seed": 7}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    assert store.digest == hashlib.sha256(text.encode()).hexdigest()  # as runs on it have kept it
