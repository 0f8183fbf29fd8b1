"""A factor file as one zip archive: the same factors, the same care."""

import contextlib
import zipfile

import numpy as np
import pytest
import torch

from normalfit.errors import CorruptFileError, FactorFileError, InputError
from normalfit.factor_file import load_factors, open_factors, save_factors, validate
from normalfit.grid import Patch
from normalfit.restriction import restrict


@pytest.fixture
def path(tmp_path, make_factors, metadata):
    save_factors(tmp_path / "f.zip", make_factors(terms=2, diagonals="uv"), metadata)
    return tmp_path / "f.zip"


def test_the_same_factors_come_back(path, make_factors, metadata):
    factors = make_factors(terms=2, diagonals="uv")
    file = open_factors(path)
    assert file.metadata == metadata
    assert torch.equal(file.load().kernel.values, factors.kernel.values)
    patch = Patch((1, 2, 0), (3, 2, 4))
    found, expected = file.restrict(patch), restrict(factors, patch)
    assert found.u is not None
    assert expected.u is not None
    assert torch.equal(found.u, expected.u)
    assert torch.equal(found.kernel.values, expected.kernel.values)
    assert [entry.name for entry in path.parent.iterdir()] == ["f.zip"]


def test_it_unpacks_to_the_folder_that_it_would_have_been(path, make_factors, metadata):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.parent / "g.zarr")
    assert validate(path.parent / "g.zarr", deep=True).is_sound
    assert load_factors(path.parent / "g.zarr").terms == 2


def test_it_is_refused_and_replaced_as_a_folder_is(path, make_factors, metadata):
    with pytest.raises(InputError, match="output must not exist yet"):
        save_factors(path, make_factors(), metadata)
    save_factors(path, make_factors(terms=3), metadata, overwrite=True)
    assert load_factors(path).terms == 3
    path.write_bytes(b"PK thesis")
    with pytest.raises(InputError, match="overwrite must be of a factor file"):
        save_factors(path, make_factors(), metadata, overwrite=True)
    assert path.read_bytes() == b"PK thesis"


def test_every_flipped_bit_is_reported(path):
    assert validate(path, deep=True).is_sound
    sound = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(sound), size=200):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert not validate(path, deep=True).is_sound, bit
        with contextlib.suppress(FactorFileError):
            load_factors(path)


@pytest.mark.parametrize("kept", [0, 1, 100, -100, -1])
def test_every_truncation_is_reported(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert not validate(path, deep=True).is_sound
    with contextlib.suppress(FactorFileError):  # python mends a comment that is cut
        open_factors(path)


def test_a_compressed_archive_is_refused(path):
    packed = path.with_name("g.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CorruptFileError, match="must be stored uncompressed"):
        open_factors(packed)


def test_a_name_twice_is_refused(path):
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr("zarr.json", b"{}")
    with pytest.raises(CorruptFileError, match="every name once"):
        open_factors(path)


def test_an_archive_of_another_program_lacks_the_seal(path):
    packed = path.with_name("g.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert load_factors(packed).terms == 2
    assert validate(packed).is_sound
    ((place, text),) = validate(packed, deep=True).problems
    assert place == "archive"
    assert "must end in the SHA-256" in text
