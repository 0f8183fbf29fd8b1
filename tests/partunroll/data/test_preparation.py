"""Measured data become samples whose units fit the reference, with or without one."""

import errno
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from partunroll.errors import InputError
from partunroll.measurements.preparation import prepare
from partunroll.measurements.prepared_samples import Preparation, SampleSource, store_samples
from partunroll.objects.made_objects import made_object
from partunroll.store.data_store import DataStore


@pytest.fixture
def truth(tmp_path):
    """Write a volume in 1/mm and return its path."""
    np.save(tmp_path / "truth.npy", 0.025 * made_object((16, 16, 16), 3))
    return tmp_path / "truth.npy"


@pytest.fixture
def scan(tmp_path, cone_spec, truth):
    """Write noisy projections of the volume and return their path."""
    y = cone_spec.build().forward(torch.from_numpy(np.load(truth))).numpy()
    y += 0.01 * y.std() * np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    np.save(tmp_path / "scan.npy", y)
    return tmp_path / "scan.npy"


def test_units_are_those_of_the_reference(tmp_path, cone_spec, scan, truth):
    summary = prepare(cone_spec, scan, truth, tmp_path / "d.zarr")
    assert (summary.splits, summary.notes) == ({"train": 1}, ())
    store = DataStore.open(tmp_path / "d.zarr")
    (sample,) = store.samples
    x, y = np.load(truth), np.load(scan)
    assert sample.intensity_per_mm == pytest.approx(np.percentile(x, 99.9))
    assert sample.inverse_crime is None
    np.testing.assert_allclose(
        store.read("scan", "reference") * sample.intensity_per_mm, x, atol=1e-7
    )
    np.testing.assert_allclose(
        store.read("scan", "measurements") * sample.intensity_per_mm, y, atol=1e-6
    )
    operator = store.operators["operator"].build()
    residual = torch.from_numpy(store.read("scan", "measurements")) - operator.forward(
        torch.from_numpy(store.read("scan", "reference"))
    )
    expected = operator.adjoint(residual)
    actual = torch.from_numpy(store.read("scan", "residual_backprojection"))
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_without_a_reference_there_is_nothing_to_train_on(tmp_path, cone_spec, scan):
    summary = prepare(cone_spec, scan, None, tmp_path / "d.zarr", name="scanner")
    assert summary.splits == {"test": 1}
    store = DataStore.open(tmp_path / "d.zarr")
    assert store.arrays("scan") == ("measurements", "initial_estimate", "backprojection")
    assert 0.5 < np.percentile(store.read("scan", "initial_estimate"), 99.9) < 1.5
    with pytest.raises(InputError, match="array of sample scan must be one of"):
        store.read("scan", "reference")
    with pytest.raises(InputError, match="without references, got 'train'"):
        prepare(cone_spec, scan, None, tmp_path / "e.zarr", split="train")


def test_a_given_intensity_is_taken(tmp_path, cone_spec, scan, truth):
    prepare(cone_spec, scan, truth, tmp_path / "d.zarr", intensity_per_mm=0.05)
    store = DataStore.open(tmp_path / "d.zarr")
    assert store.samples[0].intensity_per_mm == 0.05
    with pytest.raises(InputError, match="positive number, got -1"):
        prepare(cone_spec, scan, truth, tmp_path / "e.zarr", intensity_per_mm=-1.0)


def test_a_reference_in_other_units_is_noted(tmp_path, cone_spec, scan, truth):
    np.save(tmp_path / "bytes.npy", np.load(truth) * 1e4)
    summary = prepare(cone_spec, scan, tmp_path / "bytes.npy", tmp_path / "d.zarr")
    assert "sample scan: the reference leaves" in str(summary)


def test_several_scans_make_several_samples(tmp_path, cone_spec, scan, truth):
    np.save(tmp_path / "again.npy", np.load(scan))
    scans = [scan, tmp_path / "again.npy"]
    summary = prepare(cone_spec, scans, [truth] * 2, tmp_path / "d.zarr", split="validation")
    assert summary.splits == {"validation": 2}
    with pytest.raises(InputError, match="equally many files, at least one, got 2 and 1"):
        prepare(cone_spec, scans, truth, tmp_path / "e.zarr")


def test_shapes_and_nan_are_refused_and_leave_nothing(tmp_path, cone_spec, scan, truth):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"measurements must have the operator's shape"):
        prepare(cone_spec, truth, truth, tmp_path / "d.zarr")
    with pytest.raises(InputError, match=r"reference must have the operator's shape \(16"):
        prepare(cone_spec, scan, scan, tmp_path / "d.zarr")
    broken = np.load(scan)
    broken[2, 3, 4] = np.nan
    np.save(scan, broken)
    with pytest.raises(InputError, match=r"got 1 NaN .* index \(2, 3, 4\)"):
        prepare(cone_spec, scan, truth, tmp_path / "d.zarr")
    assert sorted(tmp_path.iterdir()) == before


def test_files_of_one_name_become_samples_of_two(tmp_path, cone_spec, scan):
    (tmp_path / "again").mkdir()
    again = shutil.copy(scan, tmp_path / "again")
    prepare(cone_spec, [scan, again], None, tmp_path / "d.zarr")
    samples = DataStore.open(tmp_path / "d.zarr").samples
    assert [sample.id for sample in samples] == ["scan", "scan-2"]


def test_measurements_that_are_all_zero_are_refused(tmp_path, cone_spec, scan, truth):
    np.save(tmp_path / "zero.npy", 0 * np.load(scan))
    with pytest.raises(InputError, match=r"must not all be zero, got those of .*zero.npy"):
        prepare(cone_spec, tmp_path / "zero.npy", truth, tmp_path / "d.zarr")


def test_values_beyond_float32_are_refused_without_a_warning(tmp_path, cone_spec, scan, truth):
    np.save(tmp_path / "large.npy", 1e300 * np.load(scan).astype(np.float64))
    with pytest.raises(InputError, match=r"measurements must be finite, got \d+ NaN or infinite"):
        prepare(cone_spec, tmp_path / "large.npy", truth, tmp_path / "d.zarr")


def test_a_damaged_tif_has_one_line(tmp_path, cone_spec, scan, truth, capfd):
    tifffile.imwrite(tmp_path / "y.tif", np.load(scan))
    (tmp_path / "y.tif").write_bytes((tmp_path / "y.tif").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"y.tif must be a readable file"):
        prepare(cone_spec, tmp_path / "y.tif", truth, tmp_path / "d.zarr")
    assert capfd.readouterr().err == ""


def test_long_names_are_cut(tmp_path, cone_spec, scan, truth):
    shutil.copy(scan, tmp_path / f"{'y' * 240}.npy")
    prepare(cone_spec, tmp_path / f"{'y' * 240}.npy", truth, tmp_path / "d.zarr")
    assert [s.id for s in DataStore.open(tmp_path / "d.zarr").samples] == ["y" * 150]


def test_samples_of_one_id_are_refused(tmp_path, cone_spec):
    """The second would be taken for the first, complete already, and be left out."""
    source = SampleSource(
        "a", "ct", "train", "file", lambda: cone_spec, lambda _: (torch.ones(1), None)
    )
    how = Preparation(None, "hann", "auto", None, torch.device("cpu"))
    with pytest.raises(InputError, match="samples must have different ids, got a twice"):
        store_samples([source, source], tmp_path / "d.zarr", how, {}, [])
    with pytest.raises(InputError, match=r"name of the sample must begin with .* got 'a/b'"):
        store_samples([replace(source, id="a/b")], tmp_path / "d.zarr", how, {}, [])


def test_a_file_system_that_cannot_lock_is_used_all_the_same(
    tmp_path, cone_spec, scan, truth, monkeypatch
):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    prepare(cone_spec, scan, truth, tmp_path / "d.zarr")
    assert not list(tmp_path.glob(".*"))
