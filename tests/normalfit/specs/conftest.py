"""Documents of every kind, with the arrays of their files, small enough for dense matrices."""

from typing import Any

import numpy as np
import pytest
import yaml

pytest.register_assert_rewrite("tests.normalfit.specs.refusals")  # its assertions show values

ORBIT_ROWS = np.array(
    [
        [0.0, -20.0, 0.5, 0.0, 20.0, 0.0, 2.0, 0.1, 0.0, 0.0, 0.0, 2.0],
        [20.0, 0.0, 0.0, -20.0, 0.0, 0.5, 0.0, 2.0, 0.0, 0.1, 0.0, 2.0],
        [0.0, 20.0, 1.0, 0.0, -20.0, 0.0, -2.0, 0.0, 0.1, 0.0, 0.1, 2.0],
    ]
)
CONE = {"kind": "cone_beam", "volume_shape": [4, 5, 6], "voxel_mm": 1.0, "detector_shape": [6, 7]}
PARALLEL = {"kind": "parallel_beam", "pixel_mm": 1.5, "num_columns": 9}
MRI = {"kind": "multicoil_mri", "volume_shape": [5, 4, 6], "num_coils": 3}
RNG = np.random.default_rng(0)
CASES: dict[str, tuple[dict[Any, Any], dict[str, np.ndarray]]] = {
    "cone_beam": (
        CONE
        | {"num_views": 5, "source_origin_mm": 20, "origin_detector_mm": 20, "pixel_mm": [2, 1.5]},
        {},
    ),
    "cone_beam_vectors": (CONE | {"cone_vec_file": "orbit.npy"}, {"cone_vec_file": ORBIT_ROWS}),
    "parallel_beam_2d": (
        PARALLEL | {"volume_shape": [7, 6], "num_views": 8, "rotation_axis_column": 4.25},
        {},
    ),
    "parallel_beam_3d": (
        PARALLEL | {"volume_shape": [3, 5, 6], "voxel_mm": [2, 1, 1], "angles_deg": [0, 45, 100]},
        {},
    ),
    "parallel_beam_file": (
        PARALLEL | {"volume_shape": [6, 6], "angles_file": "angles.npy"},
        {"angles_file": np.array([10.0, 70.0, 130.0])},
    ),
    "deconvolution_gaussian": (
        {
            "kind": "deconvolution",
            "volume_shape": [6, 5, 4],
            "gaussian_std_voxels": [1, 0.5, 2],
            "boundary": ["linear", "periodic", "linear"],
        },
        {},
    ),
    "deconvolution_file": (
        {"kind": "deconvolution", "volume_shape": [6, 5], "kernel_file": "kernel.npy"},
        {"kernel_file": np.arange(12.0).reshape(4, 3)},
    ),
    "inpainting_drawn": (
        {"kind": "inpainting", "volume_shape": [6, 5, 4], "kept_fraction": 0.5, "seed": 3},
        {},
    ),
    "inpainting_file": (
        {"kind": "inpainting", "volume_shape": [2, 3], "mask_file": "mask.npy"},
        {"mask_file": np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 2.0]])},
    ),
    "multicoil_mri": (
        MRI | {"mask": "poisson-disc", "acceleration": 3, "calibration": 2, "seed": 1},
        {},
    ),
    "multicoil_mri_hybrid": (
        MRI
        | {"readout_axis": 1, "hybrid": True, "mask_file": "mask.npy", "num_coils": None}
        | {"coil_maps_file": "maps.npy"},
        {
            "mask_file": np.arange(30).reshape(5, 6) % 3 == 0,
            "coil_maps_file": RNG.standard_normal((2, 5, 4, 6, 2)).view(complex)[..., 0],
        },
    ),
    "multicoil_mri_2d": (
        MRI | {"volume_shape": [6, 5], "readout_axis": 1, "mask": "uniform", "acceleration": 2},
        {},
    ),
    "noncartesian_mri": (
        MRI
        | {"kind": "noncartesian_mri", "trajectory": "stack-of-stars", "num_shots": 5}
        | {"num_samples": 8, "density": "pipe"},
        {},
    ),
    "noncartesian_mri_file": (
        MRI
        | {"kind": "noncartesian_mri", "volume_shape": [6, 5]}
        | {"trajectory_file": "trajectory.npy", "density_file": "density.npy"},
        {
            "trajectory_file": RNG.uniform(-0.5, 0.5, (4, 10, 2)),
            "density_file": RNG.uniform(0, 1, 40),
        },
    ),
    "python": (
        {
            "kind": "python",
            "function": "normalfit.operators.example_operator:moving_average",
            "arguments": {"shape": [3, 8], "width": 3},
        },
        {},
    ),
}


@pytest.fixture(scope="session")
def cases():
    """Documents with their arrays, by name."""
    return CASES


@pytest.fixture(params=CASES)
def case(request, cases):
    """A document and its arrays."""
    return cases[request.param]


@pytest.fixture
def write_spec(tmp_path):
    """Write a document as YAML beside its arrays and return the path."""

    def write(document, arrays=None):
        for key, array in (arrays or {}).items():
            np.save(tmp_path / document[key], array)
        path = tmp_path / "op.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write
