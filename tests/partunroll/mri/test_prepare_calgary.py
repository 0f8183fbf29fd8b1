"""Calgary-Campinas raw data are read from small files in their layout, and undersampled."""

import h5py
import numpy as np
import pytest
import torch

from normalfit.command_line import run
from normalfit.errors import NormalfitError
from normalfit.mri.birdcage import birdcage_maps
from normalfit.operators.multicoil_mri import MulticoilMRI
from partunroll.cli import app
from partunroll.errors import InputError, PartunrollError
from partunroll.measurements.calgary_layout import CalgaryScan
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
