"""Loading, the stored document, and what a spec says without being built."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from normalfit.errors import InputError
from normalfit.grid import Grid
from normalfit.operators.deconvolution import Deconvolution
from normalfit.specs import load_spec, spec_from_document


def test_document_rebuilds_the_spec_without_its_files(case, write_spec, tmp_path):
    spec = load_spec(write_spec(*case))
    document = json.loads(json.dumps(spec.document()))
    for file in tmp_path.iterdir():
        file.unlink()
    rebuilt = spec_from_document(document, spec.arrays)
    assert rebuilt.document() == spec.document()
    assert rebuilt.fingerprint == spec.fingerprint
    assert rebuilt.config == spec.config
    assert rebuilt.arrays.keys() == spec.arrays.keys()
    for key, array in spec.arrays.items():
        assert array.dtype == rebuilt.arrays[key].dtype
        assert array.tobytes() == rebuilt.arrays[key].tobytes()
        assert not array.flags.writeable


def test_rebuilt_operator_is_the_same_bit_for_bit(case, write_spec):
    spec = load_spec(write_spec(*case))
    operators = [s.build("numba") for s in (spec, spec_from_document(spec.document(), spec.arrays))]
    dtype, shape = operators[0].probe_dtype, operators[0].domain.shape
    x = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.equal(operators[0].forward(x), operators[1].forward(x))


def test_loading_imports_neither_torch_nor_numba(cases, write_spec):
    paths = [str(write_spec(*cases["cone_beam"]))]
    code = (
        "import sys; from normalfit.specs import load_spec\n"
        f"for path in {paths}: spec = load_spec(path); spec.fingerprint, spec.grid\n"
        "print([name for name in ('torch', 'numba', 'scipy', 'astra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["txt", "csv", "geom", "npy"])
def test_cone_vectors_are_read_from_text_and_npy(cases, write_spec, tmp_path, suffix):
    document, arrays = cases["cone_beam_vectors"]
    vectors = arrays["cone_vec_file"]
    document = document | {"cone_vec_file": f"orbit.{suffix}"}
    path = write_spec(document)
    if suffix == "npy":
        np.save(tmp_path / "orbit.npy", vectors)
    else:
        separator = "," if suffix == "csv" else " "
        rows = [separator.join(repr(float(value)) for value in row) for row in vectors]
        text = "# source, detector, u, v in mm\n\n" + "\n".join(rows) + "  # the last\n"
        (tmp_path / f"orbit.{suffix}").write_text(text)
    assert np.array_equal(load_spec(path).arrays["cone_vec_file"], vectors)


def test_files_are_relative_to_the_yaml_and_named_without_folders(
    tmp_path, monkeypatch, write_spec
):
    (tmp_path / "private").mkdir()
    np.save(tmp_path / "private" / "mask.npy", np.eye(3))
    path = write_spec(
        {"kind": "inpainting", "volume_shape": [3, 3], "mask_file": "private/mask.npy"}
    )
    monkeypatch.chdir("/")
    spec = load_spec(path)
    assert spec.document()["mask_file"] == "mask.npy"
    assert spec.arrays["mask_file"].dtype == np.bool_


def test_one_value_stands_for_every_axis(cases, write_spec):
    document = cases["parallel_beam_3d"][0] | {"voxel_mm": 2}
    assert load_spec(write_spec(document)).grid == Grid((3, 5, 6), (2.0, 2.0, 2.0))


def test_parallel_defaults_are_centred_and_as_large_as_the_pixels(write_spec):
    document = {
        "kind": "parallel_beam",
        "volume_shape": [6, 6],
        "num_columns": 9,
        "pixel_mm": 2,
        "num_views": 4,
    }
    assert load_spec(write_spec(document)).document() == document | {
        "voxel_mm": [2.0, 2.0],
        "rotation_axis_column": 4.0,
        "angle_start_deg": 0.0,
        "angle_range_deg": 180.0,
        "backend": "auto",
    }


def test_exponents_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "op.yaml"
    path.write_text("kind: inpainting\nvolume_shape: [4, 4]\nvoxel_mm: 5e-3\nkept_fraction: 5E-1\n")
    assert load_spec(path).grid.voxel_mm == (0.005, 0.005)


def test_drawn_mask_never_changes(write_spec):
    document = {"kind": "inpainting", "volume_shape": [2, 8], "kept_fraction": 0.4, "seed": 7}
    mask = load_spec(write_spec(document)).build().forward(torch.ones(2, 8))
    # the raw stream of PCG64(7), whose first words decide these bits, is fixed by numpy
    assert mask.int().tolist() == [[0, 0, 0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0, 0, 0]]


def test_drawn_mask_keeps_the_fraction(write_spec):
    document = {"kind": "inpainting", "volume_shape": [100, 100], "kept_fraction": 0.3}
    mask = load_spec(write_spec(document)).build().forward(torch.ones(100, 100))
    assert abs(mask.mean() - 0.3) < 0.02


def test_gaussian_has_its_width_and_sum_one(write_spec):
    document = {"kind": "deconvolution", "volume_shape": [41, 31], "gaussian_std_voxels": [3, 2]}
    operator = load_spec(write_spec(document)).build()
    assert isinstance(operator, Deconvolution)
    kernel = operator.kernel
    assert abs(kernel.sum() - 1) < 1e-12
    for axis, std in enumerate([3, 2]):
        profile = kernel.sum(1 - axis)
        lag = torch.arange(len(profile)) - len(profile) // 2
        assert abs((profile * lag).sum()) < 1e-12
        assert (profile * lag**2).sum().sqrt() == pytest.approx(std, rel=0.01)


def test_wide_gaussian_is_cut_to_the_grid(write_spec):
    document = {"kind": "deconvolution", "volume_shape": [4, 4], "gaussian_std_voxels": 1e4}
    document["boundary"] = ["linear", "periodic"]
    operator = load_spec(write_spec(document)).build()
    assert isinstance(operator, Deconvolution)
    assert operator.kernel.shape == (7, 4)


def test_backend_can_be_replaced_and_must_be_known(cases, write_spec):
    spec = load_spec(write_spec(cases["inpainting_drawn"][0]))
    x = torch.rand(spec.grid.shape)
    assert torch.equal(spec.build("numba").forward(x), spec.build().forward(x))
    with pytest.raises(InputError, match="backend must be one of auto, astra, numba, got 'cuda'"):
        spec.build("cuda")


def test_stored_array_must_be_there(cases, write_spec):
    spec = load_spec(write_spec(*cases["cone_beam_vectors"]))
    with pytest.raises(InputError, match="cone_vec_file: must come with its array"):
        spec_from_document(spec.document(), {})
