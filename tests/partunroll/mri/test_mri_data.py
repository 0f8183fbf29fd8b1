"""MRI data: simulation with phase and noise, undersampling of full k-space, files of k-space."""

import h5py
import numpy as np
import pytest
import torch
import yaml

from normalfit.grid import Grid
from normalfit.mri.birdcage import birdcage_maps
from normalfit.operators.multicoil_mri import MulticoilMRI
from normalfit.specs import load_spec
from partunroll.errors import InputError
from partunroll.measurements.coils_to_file import (
    coil_maps_to_file,
    compressed_to_file,
    sampling_mask_to_file,
)
from partunroll.measurements.finer_simulation import finer_simulation
from partunroll.measurements.preparation import prepare
from partunroll.measurements.undersampling import undersample
from partunroll.objects.smooth_phase import smooth_phase
from partunroll.store.data_store import DataStore
from partunroll.volumes.array_file import read_array


def built(path) -> MulticoilMRI:
    operator = load_spec(path).build()
    assert isinstance(operator, MulticoilMRI)
    return operator


def test_samples_are_complex_and_have_noise_only_where_measured(scan):
    store = DataStore.open(scan / "data.zarr")
    operator = built(scan / "r5.yaml")
    (sample,) = [s for s in store.split("validation") if s.operator == "r5"]
    y, x = (torch.from_numpy(store.read(sample.id, n)) for n in ("measurements", "reference"))
    assert y.dtype == x.dtype == torch.complex64
    mask = operator.mask.expand(operator.domain.shape)
    assert not y[:, ~mask].any()
    assert sample.relative_residual is not None
    assert 0.02 < sample.relative_residual < 0.2  # noise, and what the coarser grid cannot show
    assert sample.inverse_crime is False
    residual = torch.from_numpy(store.read(sample.id, "residual_backprojection"))
    torch.testing.assert_close(residual, operator.adjoint(y - operator.forward(x)))


def test_an_object_has_one_phase_for_all_operators(scan):
    store = DataStore.open(scan / "data.zarr")
    references = [store.read(s.id, "reference") for s in store.split("validation")]
    np.testing.assert_array_equal(*references)
    assert np.abs(np.angle(references[0][np.abs(references[0]) > 0.1])).max() > 0.5


def test_the_phase_is_a_function_of_the_place():
    fine, coarse = smooth_phase((24, 32), 5), smooth_phase((12, 16), 5)
    averaged = fine.reshape(12, 2, 16, 2).mean((1, 3))
    np.testing.assert_allclose(averaged, coarse, atol=0.04)
    steps = [np.abs(np.diff(x, axis=0)).max() for x in (coarse, fine)]
    assert steps[1] == pytest.approx(steps[0] / 2, rel=0.1)
    assert (smooth_phase((12, 16), 6) != coarse).any()


@pytest.mark.parametrize("hybrid_axis", [None, 0])
@pytest.mark.parametrize("shape", [(8, 24, 25), (8, 25, 24)])
def test_the_finer_scan_is_the_same_scan(shape, hybrid_axis):
    """A smooth object measured on the finer grid comes back on the coarse one, in its place."""
    mask_shape = [1 if axis == hybrid_axis else n for axis, n in enumerate(shape)]
    operator = MulticoilMRI(
        Grid(shape), birdcage_maps(3, shape), torch.ones(mask_shape), hybrid_axis=hybrid_axis
    )
    simulation = finer_simulation(operator)
    assert not simulation.inverse_crime
    fine = simulation.projector
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(fine.domain.shape, dtype=torch.complex128, generator=draw)
    y = torch.randn(fine.range.shape, dtype=torch.complex128, generator=draw)
    left = torch.vdot(y.flatten(), fine.forward(x).flatten())
    right = torch.vdot(fine.adjoint(y).flatten(), x.flatten())
    torch.testing.assert_close(left, right)
    places = [(torch.arange(2 * n) + 0.5) / (2 * n) - 0.55 for n in shape]
    z, v, u = torch.meshgrid(*places, indexing="ij")
    object_ = torch.exp(-(z.square() / 0.08 + (v.square() + u.square()) / 0.02)) + 0j
    reference, measurements = simulation(object_)
    found = operator.adjoint(measurements)
    assert float((found - reference).norm() / reference.norm()) < 0.04


def test_undersampling_keeps_the_mask_and_combines_the_coils(scan):
    operator = built(scan / "r3.yaml")
    x = torch.randn(operator.domain.shape, dtype=torch.complex64)
    full = MulticoilMRI(operator.domain, operator.coil_maps, torch.ones_like(operator.mask))
    parts = undersample(operator, full.forward(x))
    torch.testing.assert_close(parts.measurements, operator.forward(x))
    torch.testing.assert_close(parts.reference, x)
    with pytest.raises(InputError, match="shape"):
        undersample(operator, torch.zeros(1, 2, 3))


def test_full_kspace_is_prepared_with_its_own_reference(scan, tmp_path):
    spec, operator = load_spec(scan / "r3.yaml"), built(scan / "r3.yaml")
    full = MulticoilMRI(operator.domain, operator.coil_maps, torch.ones_like(operator.mask))
    x = torch.randn(operator.domain.shape, dtype=torch.complex64)
    np.save(tmp_path / "full.npy", full.forward(x).numpy())
    prepare(spec, tmp_path / "full.npy", None, tmp_path / "d.zarr", undersampled=True)
    store = DataStore.open(tmp_path / "d.zarr")
    (sample,) = store.samples
    assert sample.split == "train"
    assert sample.relative_residual is not None
    assert sample.intensity_per_mm is not None
    assert sample.relative_residual < 1e-5
    scaled = torch.from_numpy(store.read(sample.id, "reference")) * sample.intensity_per_mm
    torch.testing.assert_close(scaled, x, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="left out"):
        prepare(spec, tmp_path / "full.npy", tmp_path / "full.npy", tmp_path / "e.zarr",
                undersampled=True)  # fmt: skip
    with pytest.raises(InputError, match="prepare --undersample"):
        prepare(spec, tmp_path / "full.npy", None, tmp_path / "e.zarr")
    np.save(tmp_path / "real.npy", np.zeros(operator.range.shape, np.float32))
    with pytest.raises(InputError, match="complex"):
        prepare(spec, tmp_path / "real.npy", None, tmp_path / "e.zarr")
    assert not (tmp_path / "e.zarr").exists()


def test_kspace_is_read_from_h5_and_cfl(tmp_path):
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype("f4")
    kspace = values.view(np.complex64)[..., 0]  # (coils, z, y, x)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = kspace
        file["group/other"] = kspace[0].real
    np.testing.assert_array_equal(read_array(tmp_path / "scan.h5", ("kspace",)).values, kspace)
    other = read_array(f"{tmp_path}/scan.h5::group/other", ("kspace",)).values
    np.testing.assert_array_equal(other, kspace[0].real)
    (tmp_path / "scan.hdr").write_text("# Dimensions\n5 4 3 2 1 1\n")
    kspace.tofile(tmp_path / "scan.cfl")  # C order of the reversed axes is Fortran order
    np.testing.assert_array_equal(read_array(tmp_path / "scan.cfl", ()).values, kspace)
    (tmp_path / "scan.hdr").write_text("# Dimensions\n5 4 6 1\n")  # one coil keeps its axis
    assert read_array(tmp_path / "scan.cfl", ()).values.shape == (1, 6, 4, 5)
    (tmp_path / "scan.hdr").write_text("# Dimensions\n5 4 3 3\n")
    with pytest.raises(InputError, match="180 values as its header says, got 120"):
        read_array(tmp_path / "scan.cfl", ())


def test_the_mask_of_hybrid_data_has_no_hybrid_axis(tmp_path):
    kspace = np.zeros((2, 3, 4, 5), np.complex64)
    kspace[:, :, 1::2] = 1
    np.save(tmp_path / "k.npy", kspace)
    sampling_mask_to_file(tmp_path / "k.npy", tmp_path / "m.npy", hybrid_axis=0)
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), (kspace != 0)[0, 0])


def test_one_slice_of_bart_is_an_image(tmp_path):
    np.random.default_rng(0).standard_normal(2 * 2 * 8 * 9).astype("f4").tofile(tmp_path / "s.cfl")
    (tmp_path / "s.hdr").write_text("# Dimensions\n9 8 1 2\n")
    assert "2 coil maps of 8 × 9" in coil_maps_to_file(
        tmp_path / "s.cfl", tmp_path / "maps.npy", calibration=4
    )


def test_maps_masks_and_compressed_kspace_are_files_for_an_operator(scan, tmp_path):
    store = DataStore.open(scan / "data.zarr")
    sample = next(s for s in store.samples if s.operator == "r3")
    kspace = scan / "data.zarr" / "samples" / sample.id / "measurements"
    assert "4 coil maps" in coil_maps_to_file(kspace, tmp_path / "maps.npy", calibration=4)
    assert "acceleration 2.9" in sampling_mask_to_file(kspace, tmp_path / "mask.npy")
    document = {
        "kind": "multicoil_mri",
        "volume_shape": [12, 16, 14],
        "coil_maps_file": "maps.npy",
        "mask_file": "mask.npy",
    }
    (tmp_path / "op.yaml").write_text(yaml.safe_dump(document))
    operator, truth = built(tmp_path / "op.yaml"), built(scan / "r3.yaml")
    assert (operator.mask == truth.mask.expand(truth.domain.shape)).all()
    assert "3 of 4 coils" in compressed_to_file(kspace, tmp_path / "three.npy", coils=3)
    assert np.load(tmp_path / "three.npy").shape == (3, 12, 16, 14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda k, p: coil_maps_to_file(k, p / "m.zarr"), "end in .npy"),
        (lambda k, p: coil_maps_to_file(k, p / "m.npy", calibration=15), "between 2 and 12"),
        (lambda k, p: coil_maps_to_file(k, p / "m.npy", hybrid_axis=3), "below 3"),
        (lambda k, p: compressed_to_file(k, p / "m.npy", coils=9), "between 1 and 4"),
    ],
)
def test_bad_arguments_leave_nothing(scan, tmp_path, call, words):
    store = DataStore.open(scan / "data.zarr")
    kspace = scan / "data.zarr" / "samples" / store.samples[0].id / "measurements"
    with pytest.raises(Exception, match=words):
        call(kspace, tmp_path)
    assert not list(tmp_path.iterdir())
