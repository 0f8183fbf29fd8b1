"""Columns of the table: what they hold, and that a volume counts once in their intervals."""

import pytest

from normalfit.specs import spec_from_document
from partunroll.comparison.comparison_data import prepare_data
from partunroll.comparison.recipe import Recipe
from partunroll.comparison.row_figures import VolumeFigures
from partunroll.comparison.row_results import RowResult, SeedResult
from partunroll.errors import InputError
from partunroll.measurements.simulation import simulate
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore, create_store

BLUR = {"kind": "deconvolution", "volume_shape": [12, 12], "gaussian_std_voxels": 1.0}


def row(name, figures, seconds=1.0):
    """A row of one column with the PSNR of two operators on each of some objects."""
    volumes = {
        "Both": {sample: VolumeFigures(psnr, None, None) for sample, psnr in figures.items()}
    }
    record = {"seconds": dict.fromkeys(figures, seconds), "peak_bytes": 1}
    objects = {sample: sample.partition("-")[0] for sample in figures}
    return RowResult(
        name, name == "ours", False, None, (SeedResult(0, "", volumes, None, record),), objects
    )


def test_samples_of_one_object_are_one_volume():
    """Else a column of three operators has an interval of a third of the width, for nothing."""
    samples = {"a-30": 30.0, "a-60": 34.0, "b-30": 20.0, "b-60": 24.0}
    ours = row("ours", samples)
    other = row(
        "other", {name: psnr - (1 if name[0] == "a" else 3) for name, psnr in samples.items()}
    )
    assert ours.by_volume("Both", "psnr") == {"a": 32.0, "b": 22.0}
    difference = other.difference(ours, "Both")
    assert difference is not None
    assert difference.half_width is not None
    assert (difference.mean, difference.volumes) == (-2.0, 2)
    assert difference.half_width == pytest.approx(12.706, rel=1e-3)  # t of one degree of freedom
    assert other.reconstruction_seconds("Both") == 1.0


def test_a_seed_that_one_row_lacks_is_left_out_of_the_difference():
    """Seed 1 of ours is 6 dB better, which says nothing about a row whose seed 1 has failed."""

    def seeds(*psnrs):
        return tuple(
            SeedResult(i, "failed")
            if psnr is None
            else SeedResult(i, "", {"c": {"a": VolumeFigures(psnr, None, None)}})
            for i, psnr in enumerate(psnrs)
        )

    ours = RowResult("ours", True, False, None, seeds(30.0, 36.0))

    def difference(*psnrs):
        found = RowResult("other", False, False, None, seeds(*psnrs)).difference(ours, "c")
        return found and found.mean

    assert difference(29.0, None) == -1.0
    assert difference(None, None) is None
    assert difference(29.0, 35.0) == -1.0
    assert difference(29.0) == -4.0  # does not depend on a seed: to the mean of ours


@pytest.fixture
def store(tmp_path):
    """A store with an operator for training, and one for validation and test each."""
    specs = {
        name: spec_from_document({**BLUR, "gaussian_std_voxels": std}, {})
        for name, std in {"scan-a": 1.0, "scan-b": 1.1, "scan-c": 1.2}.items()
    }
    parts = {}
    for i, (name, split) in enumerate(zip(specs, ("train", "validation", "test"), strict=True)):
        part = tmp_path / f"{name}.zarr"
        simulate({name: specs[name]}, MadeObjects(1, i), part, split=split)
        parts[name] = DataStore.open(part)
    with create_store(tmp_path / "data.zarr", specs, {}) as writer:
        for part in parts.values():
            (sample,) = part.samples
            names = ("reference", "measurements", "initial_estimate", "backprojection",
                     "residual_backprojection")  # fmt: skip
            writer.add_sample(sample, {name: part.read(sample.id, name) for name in names})
    return tmp_path / "data.zarr"


def data(store, folder, columns, method):
    document = {
        "data": {"store": str(store)},
        "columns": columns,
        "budget": {"steps": 1},
        "rows": [{"name": "row", "method": method}],
    }
    return prepare_data(Recipe.model_validate(document), folder, "cpu")


CHOOSING = {"kind": "cg", "choose": {"ridge": [0.1, 1.0]}}


def test_operators_of_training_scans_are_no_columns(store, tmp_path):
    assert list(data(store, tmp_path, None, {"kind": "cg"}).columns) == ["scan-c"]
    found = data(store, tmp_path, {"All": "*"}, CHOOSING)
    assert found.columns == {"All": ("scan-a", "scan-b", "scan-c")}


@pytest.mark.parametrize(
    ("columns", "method", "words"),
    [
        ({"A": "scan-a", "C": "scan-c"}, {"kind": "cg"}, "got A without samples for test"),
        (None, CHOOSING, "scan-c without samples for validation"),
        ({"All": "scan-[bc]", "D": "scan-d"}, {"kind": "cg"}, r"got D \(scan-d\)"),
    ],
)
def test_columns_without_samples_are_refused_before_anything_runs(
    store, tmp_path, columns, method, words
):
    with pytest.raises(InputError, match=words):
        data(store, tmp_path, columns, method)
