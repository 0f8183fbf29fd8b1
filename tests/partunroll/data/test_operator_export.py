"""Operators leave a data store as files that stand for the same operators."""

import numpy as np
import pytest

from normalfit.command_line import run
from normalfit.errors import InputError as NormalfitInputError
from normalfit.errors import NormalfitError
from normalfit.specs import load_spec, spec_from_document
from partunroll.cli import app
from partunroll.errors import InputError, PartunrollError
from partunroll.store.data_store import DataStore, SampleInfo, create_store
from partunroll.store.operator_export import export_operators


@pytest.fixture
def store(tmp_path, cone_spec, parallel_spec, inpainting_spec):
    """Write a store of several operators and one sample; return its path."""
    mri = {"kind": "multicoil_mri", "volume_shape": [6, 8, 8], "num_coils": 2, "mask": "random"}
    specs = {
        "cone": cone_spec,
        "parallel": parallel_spec,
        "mask": inpainting_spec,
        "mri": spec_from_document(mri, {}),
    }
    names = ("measurements", "initial_estimate", "backprojection")
    arrays = {name: np.ones((4, 4, 4), np.float32) for name in names}
    with create_store(tmp_path / "d.zarr", specs, {}) as writer:
        info = SampleInfo(id="one", operator="cone", split="test", source="a")
        writer.add_sample(info, arrays)
    return tmp_path / "d.zarr"


def test_files_stand_for_the_operators(tmp_path, store, capsys):
    with pytest.raises(SystemExit) as ended:
        run(
            app,
            errors=(NormalfitError, PartunrollError),
            arguments=["operators", str(store), "-o", str(tmp_path / "operators")],
        )
    assert ended.value.code == 0
    assert "parallel.yaml" in capsys.readouterr().out
    for name, fingerprint in DataStore.open(store).fingerprints.items():
        assert load_spec(tmp_path / "operators" / f"{name}.yaml").fingerprint == fingerprint
    with pytest.raises(NormalfitInputError, match="must not exist yet"):
        export_operators(store, tmp_path / "operators")


def test_one_operator_is_read_alone(store):
    opened = DataStore.open(store)
    (store / "operators" / "mask" / "mask_file" / "c" / "0" / "0" / "0").unlink()
    assert opened.operator("cone").fingerprint == opened.fingerprints["cone"]
    with pytest.raises(InputError, match="operator must be one of cone, mask, mri, parallel"):
        opened.operator("other")
