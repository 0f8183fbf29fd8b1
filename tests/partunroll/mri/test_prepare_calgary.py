"""Calgary-Campinas raw data are read from small files in their layout, and undersampled."""

import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from normalfit.command_line import run
from normalfit.errors import NormalfitError
from normalfit.mri.birdcage import birdcage_maps
from normalfit.operators.multicoil_mri import MulticoilMRI
from partunroll.cli import app
from partunroll.errors import DataStoreError, InputError, PartunrollError
from partunroll.measurements.calgary_layout import CalgaryScan, find_scans
from partunroll.measurements.calgary_preparation import CalgaryChoice, prepare_calgary
from partunroll.measurements.undersampling import undersample
from partunroll.objects.made_objects import made_object
from partunroll.store.data_store import DataStore

SHAPES = {"e14089s3_P53248.7": (6, 22, 20), "e14553s5_P53760.7": (6, 22, 21)}  # (x, y, z)
COILS = 12
CHOICE = CalgaryChoice(accelerations=(2.0, 3.0), mask_centre=8, calibration=8)


def write_scan(path, shape, dtype="<f4", seed=0):
    """Write a head; return its coil images ``(coils, x, y, z)``, which np.fft.ifft2 shows."""
    maps = birdcage_maps(COILS, shape, radius=1.5).numpy()
    images = maps * made_object(shape, seed)
    kspace = np.fft.fft2(images, axes=(2, 3))
    # moved so that the zero frequency stands in the middle: the images change their phase alone
    kspace = np.fft.fftshift(kspace, axes=(2, 3))
    num_kz = shape[2]
    kspace[..., int(np.ceil(0.85 * num_kz)) :] = 0
    interleaved = np.empty((*shape, 2 * COILS), dtype)
    interleaved[..., ::2] = np.moveaxis(kspace.real, 0, -1)
    interleaved[..., 1::2] = np.moveaxis(kspace.imag, 0, -1)
    interleaved[:, :, -1] = 7.0  # what is not zero there although it was not measured
    path.parent.mkdir(exist_ok=True, parents=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = interleaved
    return np.fft.ifft2(kspace, axes=(2, 3))


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Write a head for training and one for validation, of either byte order."""
    folder = tmp_path_factory.mktemp("CC359")
    images = {}
    for (name, shape), part, dtype in zip(
        SHAPES.items(), ("Train", "Val"), ("<f4", ">f4"), strict=True
    ):
        images[name] = write_scan(folder / part / f"{name}.h5", shape, dtype)
    return folder, images


@pytest.mark.parametrize("name", SHAPES)
def test_images_stand_where_a_plain_fft_shows_them(heads, name):
    folder, images = heads
    (path,) = folder.rglob(f"{name}.h5")
    kspace = CalgaryScan(path).read()
    assert kspace.dtype == torch.complex64
    shifted = torch.fft.ifftshift(kspace, dim=(2, 3))
    ours = torch.fft.fftshift(torch.fft.ifft2(shifted), dim=(2, 3))
    np.testing.assert_allclose(ours.abs().numpy(), np.abs(images[name]), atol=1e-5)


def test_every_scan_has_operators_of_its_own(tmp_path, heads):
    folder, images = heads
    summary = prepare_calgary(folder, tmp_path / "d.zarr", CHOICE)
    assert summary.splits == {"train": 2, "validation": 2}
    assert set(summary.fingerprints) == {f"r{r}-{name}" for name in SHAPES for r in (2, 3)}
    store = DataStore.open(tmp_path / "d.zarr")
    for name, shape in SHAPES.items():
        sample = store.sample(f"{name}-r3")
        assert (sample.operator, sample.initial_method) == (f"r3-{name}", "least-squares")
        operator = store.operators[sample.operator].build()
        assert isinstance(operator, MulticoilMRI)
        assert operator.domain.shape == shape
        mask = operator.mask.numpy()[0]
        assert not mask[:, int(np.ceil(0.85 * shape[2])) :].any()
        assert mask[11 - 4 : 11 + 4, shape[2] // 2 - 4 : shape[2] // 2 + 4].all()
        assert 2.5 < mask.size / mask.sum() < 4.5
        (path,) = folder.rglob(f"{name}.h5")
        expected = undersample(operator, CalgaryScan(path).read())
        scale = sample.intensity_per_mm or 0
        measured = torch.from_numpy(store.read(sample.id, "measurements"))
        torch.testing.assert_close(measured * scale, expected.measurements)
        reference = store.read(sample.id, "reference") * scale
        rss = np.sqrt((np.abs(images[name]) ** 2).sum(0)) * np.sqrt(shape[1] * shape[2])
        inside = rss > 0.3 * rss.max()
        assert np.corrcoef(np.abs(reference)[inside], rss[inside])[0, 1] > 0.98


def test_a_split_file_and_slices_choose(tmp_path, heads):
    folder, _ = heads
    first, second = SHAPES
    (tmp_path / "split.yaml").write_text(f"train: [{second}]\ntest: [{first}]\n")
    arguments = ["prepare", "calgary", str(folder), "--split", str(tmp_path / "split.yaml")]
    arguments += ["--acceleration", "2", "--mask-centre", "8", "--calibration", "8"]
    arguments += ["--slices", "2", "5", "-o", str(tmp_path / "d.zarr")]
    with pytest.raises(SystemExit) as ended:
        run(app, errors=(NormalfitError, PartunrollError), arguments=arguments)
    assert ended.value.code == 0
    store = DataStore.open(tmp_path / "d.zarr")
    assert {s.id: s.split for s in store.samples} == {
        f"{first}-r2": "test",
        f"{second}-r2": "train",
    }
    assert store.read(f"{first}-r2", "reference").shape == (3, 22, 20)
    (path,) = folder.rglob(f"{first}.h5")
    part, whole = CalgaryScan(path, (2, 5)).read(), CalgaryScan(path).read()
    torch.testing.assert_close(part, whole[:, 2:5])


def test_other_files_are_refused(tmp_path, heads):
    folder, _ = heads
    with pytest.raises(InputError, match=r"must hold \.h5 files, got none"):
        prepare_calgary(tmp_path, tmp_path / "d.zarr")
    write_scan(tmp_path / "heads" / "a.h5", (4, 22, 20))
    with pytest.raises(InputError, match="say by a split file"):
        prepare_calgary(tmp_path, tmp_path / "d.zarr")
    with pytest.raises(InputError, match=r"slices must lie in 0 … 6 of .*, got 2 … 9"):
        prepare_calgary(folder, tmp_path / "d.zarr", CalgaryChoice(slices=(2, 9)))
    with h5py.File(tmp_path / "heads" / "a.h5", "w") as file:
        file["kspace"] = np.zeros((4, 5, 6, 7))
    (tmp_path / "split.yaml").write_text("train: [a]\n")
    with pytest.raises(InputError, match=r"2 · coils\), got float64 \(4, 5, 6, 7\)"):
        prepare_calgary(tmp_path, tmp_path / "d.zarr", split=tmp_path / "split.yaml")


def test_bad_options_and_names_are_refused_before_anything_is_read(tmp_path, heads, monkeypatch):
    folder, _ = heads
    monkeypatch.setattr(CalgaryScan, "read", lambda _: pytest.fail("must not be read"))
    with pytest.raises(InputError, match=r"each once and 1 or more, got \[2.0000001, 2.0000002\]"):
        CalgaryChoice(accelerations=(2.0000001, 2.0000002))  # both would be r2, and one sample
    with pytest.raises(InputError, match=r"each once and 1 or more, got \[5, 0.5\]"):
        CalgaryChoice(accelerations=(5, 0.5))
    for wrong, message in (
        ({"accelerations": (2.0, 50.0)}, "calibration must leave room for 9 samples"),
        ({"mask": "uniform", "accelerations": (2.0, 2.5)}, "acceleration must be a whole number"),
        ({"calibration": 21}, r"calibration must be 2 … 20, got 21 for .*h5"),
    ):
        choice = replace(CHOICE, **wrong)
        with pytest.raises((NormalfitError, InputError), match=message):
            prepare_calgary(folder, tmp_path / "d.zarr", choice)
    write_scan(tmp_path / "Train" / "a.h5", (2, 22, 20))
    write_scan(tmp_path / "Train" / "ä.h5", (2, 22, 20))
    with pytest.raises(InputError, match=r"name of the sample must begin with .* got 'ä-r2'"):
        prepare_calgary(tmp_path, tmp_path / "d.zarr", CHOICE)
    assert not list(tmp_path.glob(".*"))


def test_hidden_files_are_passed_over(tmp_path):
    write_scan(tmp_path / "Train" / "a.H5", (2, 22, 20))
    (tmp_path / "Train" / "._a.h5").write_bytes(b"what an archive of another system brings")
    assert [scan.name for scan in find_scans(tmp_path)] == ["a"]


def _altered(path, change):
    with h5py.File(path, "r+") as file:
        values = change(file["kspace"][:])
        del file["kspace"]
        file["kspace"] = values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k.transpose(0, 2, 1, 3), r"largest near the middle of ky and kz, \(10, 11\)"),
        (lambda k: np.fft.ifftshift(k, axes=(1, 2)), r"middle of ky and kz, \(11, 10\)"),
        (
            lambda k: k * (np.random.default_rng(0).random((1, 22, 20, 1)) < 0.2),
            "kspace must be fully sampled, .* that are not zero",
        ),
        (lambda k: 0 * k, "kspace must hold a signal, got zeros"),
        (lambda k: k[..., :0], "2 · coils"),
    ],
)
def test_kspace_of_another_layout_is_refused(tmp_path, change, message):
    write_scan(tmp_path / "Train" / "a.h5", (2, 22, 20))
    _altered(tmp_path / "Train" / "a.h5", change)
    with pytest.raises(InputError, match=message):
        prepare_calgary(tmp_path, tmp_path / "d.zarr", CHOICE)


def test_operators_of_a_store_leave_their_maps_on_disk(tmp_path, heads):
    """A store of many scans has more coil maps than fit into memory."""
    folder, _ = heads
    prepare_calgary(folder, tmp_path / "d.zarr", replace(CHOICE, accelerations=(2.0,)))
    specs = DataStore.open(tmp_path / "d.zarr").operators
    name = next(iter(specs))
    size = specs[name].arrays["coil_maps_file"].nbytes
    assert len(pickle.dumps(specs)) < size / 10  # as it is sent to workers
    sent = pickle.loads(pickle.dumps(specs[name]))  # noqa: S301 - our own
    assert sent.fingerprint == specs[name].fingerprint
    with pytest.raises(ValueError, match="read-only"):
        sent.arrays["coil_maps_file"][0] = 0
    (chunk, *_) = (tmp_path / "d.zarr/operators" / name / "coil_maps_file/c").rglob("0/0/0/0")
    chunk.write_bytes(b"\0" * 20)
    with pytest.raises(DataStoreError, match="coil_maps_file must be sound"):
        sent.build()
