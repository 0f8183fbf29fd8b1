"""Migration keeps the factors and what was known, and writes nothing unless told to."""

from pathlib import Path

import pytest
import torch

from normalfit.errors import InputError
from normalfit.factor_file import load_factors, migrate, open_factors, validate

OLD = sorted((Path(__file__).parent / "golden/0.1").glob("*.zarr"))


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
@pytest.mark.parametrize("suffix", ["zarr", "zip"])
def test_factors_and_facts_are_kept(tmp_path, old, suffix):
    target = tmp_path / f"new.{suffix}"
    migration = migrate(old, target)
    assert (migration.from_version, migration.to_version) == ("0.1", "1.0")
    assert validate(target, deep=True).is_sound
    found, expected = load_factors(target), load_factors(old)
    assert torch.equal(found.kernel.values, expected.kernel.values)
    new, was = open_factors(target), open_factors(old)
    assert new.metadata == was.metadata or new.spec is not None
    for name in ("versions", "created", "report", "norm", "fingerprint", "operator"):
        assert getattr(new.header, name) == getattr(was.header, name)


def test_without_an_output_it_only_tells(tmp_path):
    before = sorted(OLD[0].rglob("*"))
    migration = migrate(OLD[0])
    assert migration.target is None
    assert len(migration.steps) >= 4
    assert "nothing written" in str(migration)
    assert sorted(OLD[0].rglob("*")) == before


def test_it_never_overwrites(tmp_path):
    (tmp_path / "new.zarr").write_text("thesis")
    with pytest.raises(InputError, match="output must not exist yet"):
        migrate(OLD[0], tmp_path / "new.zarr")
    assert (tmp_path / "new.zarr").read_text() == "thesis"


def test_a_present_file_needs_nothing(tmp_path, make_factors, metadata):
    migrate(OLD[0], tmp_path / "new.zarr")
    again = migrate(tmp_path / "new.zarr", tmp_path / "newer.zarr")
    assert again.steps == ()
    assert "nothing to do" in str(again)
    assert not (tmp_path / "newer.zarr").exists()


def test_who_migrated_it_is_said_under_a_key_that_others_may_pass_over(tmp_path):
    migrate(OLD[0], tmp_path / "new.zarr")
    import json

    attributes = json.loads((tmp_path / "new.zarr/zarr.json").read_text())["attributes"]
    assert attributes["migrated"]["must_understand"] is False
    assert attributes["migrated"]["from"] == "0.1"
