"""Simulated stores hold what equation (3) needs, and the same seed makes the same data."""

import numpy as np
import pytest
import torch

from partunroll.errors import InputError
from partunroll.initial.initial_estimate import initial_estimate
from partunroll.measurements.noise import PhotonNoise, RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.objects.made_objects import made_object
from partunroll.objects.object_sources import MadeObjects, safe_name
from partunroll.store.data_store import DataStore


def _read(store, sample, array):
    return torch.from_numpy(store.read(sample, array))


def _assert_consistent(store, sample_id):
    """Every array follows from reference and measurements."""
    sample = store.sample(sample_id)
    operator = store.operators[sample.operator].build()
    x, y = _read(store, sample_id, "reference"), _read(store, sample_id, "measurements")
    atol = 1e-4 * float(operator.adjoint(y).abs().max())
    expected = {
        "backprojection": operator.adjoint(y),
        "residual_backprojection": operator.adjoint(y - operator.forward(x)),
        "initial_estimate": initial_estimate(operator, y, sample.initial_window or "hann"),
    }
    for name, values in expected.items():
        torch.testing.assert_close(_read(store, sample_id, name), values, rtol=1e-4, atol=atol)
    relative = float((y - operator.forward(x)).norm() / y.norm())
    assert sample.relative_residual == pytest.approx(relative, rel=1e-3)


@pytest.fixture
def volume_path(tmp_path):
    volume = made_object((20, 20, 20), 1) * 700.0 + 30.0
    np.savez(tmp_path / "thing.npz", volume=volume, voxel_mm=np.full(3, 0.5))
    return tmp_path / "thing.npz"


def test_made_objects_are_seen_by_several_operators(tmp_path, cone_spec, parallel_spec):
    specs = {"cone": cone_spec, "parallel": parallel_spec}
    output = tmp_path / "data.zarr"
    noise = PhotonNoise(1e5)
    summary = simulate(specs, MadeObjects(3, seed=5), output, noise=noise, validation=1)
    store = DataStore.open(output)
    assert summary.splits == {"train": 4, "validation": 2}
    last = [sample.id for sample in store.split("validation")]
    assert last == ["made-5-0002-cone", "made-5-0002-parallel"]
    assert summary.initial_methods == {"cone": "fdk", "parallel": "fbp"}
    assert summary.fingerprints["cone"] == cone_spec.fingerprint
    assert (summary.inverse_crimes, summary.notes) == ((), ())
    for sample in store.samples:
        assert sample.inverse_crime is False
        assert sample.noise == noise.document()
        _assert_consistent(store, sample.id)
    first, second = (store.read(f"made-5-0002-{name}", "reference") for name in specs)
    np.testing.assert_array_equal(first, second)


def test_references_are_the_object_and_in_units_of_one(tmp_path, cone_spec, volume_path):
    simulate({"cone": cone_spec}, [volume_path], tmp_path / "d.zarr", noise=RelativeNoise(0.01))
    store = DataStore.open(tmp_path / "d.zarr")
    (sample,) = store.samples
    assert (sample.id, sample.source) == ("thing", str(volume_path))
    reference = store.read("thing", "reference")
    assert reference.min() >= 0.0
    assert reference.max() <= 1.0
    expected = made_object((16, 16, 16), 1)
    correlation = np.corrcoef(reference.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.97
    _assert_consistent(store, "thing")


def test_photons_give_the_intensity(tmp_path, cone_spec):
    simulate({"cone": cone_spec}, MadeObjects(1), tmp_path / "d.zarr", noise=PhotonNoise(1e6))
    store = DataStore.open(tmp_path / "d.zarr")
    (sample,) = store.samples
    largest = store.read(sample.id, "measurements").max()
    assert sample.intensity_per_mm * largest == pytest.approx(3.0, rel=0.05)


def test_the_same_seed_makes_the_same_data(tmp_path, cone_spec):
    def run(name, seed):
        simulate(
            {"cone": cone_spec}, MadeObjects(2), tmp_path / name, noise=PhotonNoise(1e4), seed=seed
        )
        store = DataStore.open(tmp_path / name)
        return [store.read(s.id, "measurements") for s in store.samples]

    first, again, other = run("a", 0), run("b", 0), run("c", 1)
    np.testing.assert_array_equal(first, again)
    assert all(np.any(a != b) for a, b in zip(first, other, strict=True))
    assert np.corrcoef(first[0].ravel() - other[0].ravel(), first[1].ravel() - other[1].ravel())[
        0, 1
    ] == pytest.approx(0.0, abs=0.1)


def test_an_inverse_crime_is_called_one(tmp_path, cone_spec, inpainting_spec):
    asked = simulate({"c": cone_spec}, MadeObjects(1), tmp_path / "a.zarr", same_grid=True)
    assert asked.inverse_crimes == ("c",)
    assert "(asked for), an inverse crime" in str(asked)
    (sample,) = DataStore.open(tmp_path / "a.zarr").samples
    assert sample.inverse_crime is True
    assert sample.relative_residual == pytest.approx(0.0, abs=1e-5)
    forced = simulate({"i": inpainting_spec}, MadeObjects(1), tmp_path / "b.zarr")
    assert "operator i: simulated on the reconstruction's own grid (it has no" in forced.notes[0]
    assert forced.as_json()["inverse_crimes"] == ["i"]
    _assert_consistent(DataStore.open(tmp_path / "b.zarr"), "made-0-0000")


def test_validation_may_be_other_files(tmp_path, cone_spec, volume_path):
    other = tmp_path / "thing.npy"
    np.save(other, made_object((16, 16, 16), 2))
    simulate({"c": cone_spec}, [volume_path], tmp_path / "d.zarr", validation=[other])
    store = DataStore.open(tmp_path / "d.zarr")
    assert [(s.id, s.split) for s in store.samples] == [
        ("thing", "train"),
        ("thing-2", "validation"),
    ]


def test_a_crop_is_masked_to_a_cylinder(tmp_path, cone_spec):
    np.save(tmp_path / "crop.npy", np.random.default_rng(0).random((16, 16, 16)) + 1.0)
    simulate({"c": cone_spec}, [tmp_path / "crop.npy"], tmp_path / "d.zarr", mask="cylinder")
    reference = DataStore.open(tmp_path / "d.zarr").read("crop", "reference")
    assert reference[:, 0, 0].max() == 0.0
    assert reference[:, 8, 8].min() > 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volumes": ["missing.npz"]}, "missing.npz must be an existing file"),
        ({"volumes": []}, "at least one file"),
        ({"mask": "cube"}, "got 'cube'"),
        ({"validation": 5}, "0 … 1 of the objects, got 5"),
        ({"window": "boxcar"}, "got 'boxcar'"),
        ({"method": "sart"}, "got 'sart'"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path, cone_spec, change, message):
    arguments = {"specs": {"c": cone_spec}, "volumes": MadeObjects(1), "output": tmp_path / "d"}
    with pytest.raises(InputError, match=message):
        simulate(**{**arguments, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_bad_volume_is_named_and_nothing_is_left(tmp_path, cone_spec, volume_path):
    np.save(tmp_path / "flat.npy", np.ones((4, 4, 4)))
    with pytest.raises(InputError, match=r"flat.npy: value_range must be finite and ascend"):
        simulate({"c": cone_spec}, [volume_path, tmp_path / "flat.npy"], tmp_path / "d.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flat.npy", "thing.npz"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b/head.nii.gz", "head"),
        ("shell 2.npz::volume", "shell-2-volume"),
        ("slices/", "slices"),
        ("folder/*.tif", "volume"),
        ("v1.5.tif", "v1.5"),
    ],
)
def test_names_of_files_become_ids(path, name):
    assert safe_name(path) == name
