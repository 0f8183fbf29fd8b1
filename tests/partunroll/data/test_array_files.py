"""Volumes and measurements come out of every container as they went in, or are refused."""

import nibabel
import numpy as np
import pytest
import tifffile
import zarr

from partunroll.errors import InputError
from partunroll.volumes.volume_file import read_measurements, read_volume

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def _write_npz(folder):
    np.savez(folder / "v.npz", volume=VOLUME, other=np.zeros((2, 2)), source="here")
    return folder / "v.npz"


def _write_npz_with_one_array(folder):
    np.savez(folder / "v.npz", whatever=VOLUME, source=np.array("text"), voxel=np.ones(3))
    return folder / "v.npz"


def _write_npz_with_key(folder):
    np.savez(folder / "v.npz", volume=np.zeros((2, 2)), mine=VOLUME)
    return f"{folder / 'v.npz'}::mine"


def _write_npy(folder):
    np.save(folder / "v.npy", VOLUME)
    return folder / "v.npy"


def _write_nifti(folder):
    nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4)), folder / "v.nii.gz")
    return folder / "v.nii.gz"


def _write_tif(folder):
    tifffile.imwrite(folder / "v.tif", VOLUME, photometric="minisblack")
    return folder / "v.tif"


def _write_slices(folder):
    (folder / "slices").mkdir()
    for name, image in zip(("s9", "s10"), VOLUME, strict=True):
        tifffile.imwrite(folder / "slices" / f"{name}.tif", image)
    (folder / "slices" / "notes.txt").write_text("not a slice")
    return folder / "slices"


def _write_glob(folder):
    return f"{_write_slices(folder)}/s*.tif"


def _write_zarr_array(folder):
    zarr.create_array(folder / "v.zarr", data=VOLUME)
    return folder / "v.zarr"


def _write_zarr_group(folder):
    group = zarr.create_group(folder / "v.zarr")
    group.create_array("anything", data=VOLUME)
    return folder / "v.zarr"


def _write_zarr_path(folder):
    group = zarr.create_group(folder / "v.zarr")
    group.create_array("a/b/one", data=VOLUME)
    group.create_array("a/b/two", data=VOLUME + 1)
    return folder / "v.zarr" / "a" / "b" / "one"


@pytest.mark.parametrize(
    "write",
    [
        _write_npz,
        _write_npz_with_one_array,
        _write_npz_with_key,
        _write_npy,
        _write_nifti,
        _write_tif,
        _write_slices,
        _write_glob,
        _write_zarr_array,
        _write_zarr_group,
        _write_zarr_path,
    ],
)
def test_every_container_gives_the_volume_back(tmp_path, write):
    volume, _ = read_volume(write(tmp_path))
    np.testing.assert_array_equal(volume, VOLUME)
    assert volume.dtype == np.float32


def test_voxel_sizes_follow_the_axes(tmp_path):
    image = nibabel.Nifti1Image(VOLUME.T, np.diag([0.5, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "v.nii")
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "micron.nii")
    np.savez(tmp_path / "v.npz", volume=VOLUME, voxel_mm=np.array([3.0, 2.0, 0.5]))
    np.savez(tmp_path / "cube.npz", volume=VOLUME, voxel_mm=0.25)
    assert read_volume(tmp_path / "v.nii")[1] == (3.0, 2.0, 0.5)
    assert read_volume(tmp_path / "micron.nii")[1] == pytest.approx((3e-3, 2e-3, 5e-4))
    assert read_volume(tmp_path / "v.npz")[1] == (3.0, 2.0, 0.5)
    assert read_volume(tmp_path / "cube.npz")[1] == (0.25,) * 3
    assert read_volume(_write_npy(tmp_path))[1] is None


def test_integers_become_float_without_loss(tmp_path):
    np.save(tmp_path / "v.npy", np.array([[-1000, 3071], [0, 7]], dtype=np.int16))
    assert read_volume(tmp_path / "v.npy")[0].tolist() == [[-1000, 3071], [0, 7]]


def test_nan_is_refused_with_count_and_place(tmp_path):
    broken = VOLUME.copy()
    broken[1, 2, 0] = np.nan
    broken[1, 2, 3] = np.inf
    np.save(tmp_path / "v.npy", broken)
    for read in (read_volume, read_measurements):
        with pytest.raises(InputError, match=r"got 2 NaN or infinite of 24 .* index \(1, 2, 0\)"):
            read(tmp_path / "v.npy")


def test_measurements_may_be_complex_and_volumes_not(tmp_path):
    np.savez(tmp_path / "k.npz", kspace=1j * VOLUME.astype(np.complex128), volume=VOLUME)
    measured = read_measurements(tmp_path / "k.npz").values
    assert measured.dtype == np.complex64
    np.testing.assert_array_equal(measured, 1j * VOLUME)
    with pytest.raises(InputError, match="volume must be a real array"):
        read_volume(f"{tmp_path / 'k.npz'}::kspace")


def test_measurements_keep_the_attributes_of_their_array(tmp_path):
    zarr.create_array(tmp_path / "y.zarr", data=VOLUME, attributes={"fingerprint": "abc"})
    assert read_measurements(tmp_path / "y.zarr").attributes["fingerprint"] == "abc"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.npz", None),
        ("broken.npz", b"PK\x03\x04 and then nothing"),
        ("broken.npy", b"\x93NUMPY"),
        ("broken.nii.gz", b"\x1f\x8b but no gzip"),
        ("broken.tif", b"II*\x00"),
        ("text.txt", b"1 2 3"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_volume(tmp_path / name)


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickle"):
        read_volume(tmp_path / "v.npy")


def test_a_choice_of_arrays_must_be_made(tmp_path):
    np.savez(tmp_path / "v.npz", first=VOLUME, second=VOLUME)
    with pytest.raises(InputError, match=r"got first, second; .*::KEY"):
        read_volume(tmp_path / "v.npz")
    with pytest.raises(InputError, match="called third"):
        read_volume(f"{tmp_path / 'v.npz'}::third")


def test_a_damaged_zarr_store_is_refused(tmp_path):
    path = _write_zarr_array(tmp_path)
    chunk = next(p for p in (path / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"v\.zarr must be a readable file"):
        read_volume(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"v\.zarr must be a readable file"):
        read_volume(path)
