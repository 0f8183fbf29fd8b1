"""Small operator specs that every test of the data may need."""

import numpy as np
import pytest

from normalfit.specs import spec_from_document

pytest.register_assert_rewrite("tests.partunroll.data.ball")  # its assertions show their values


@pytest.fixture(scope="session")
def cone_spec():
    """Return a cone beam over 16³ voxels with 12 views."""
    document = {
        "kind": "cone_beam",
        "volume_shape": [16, 16, 16],
        "voxel_mm": [1.0, 1.0, 1.0],
        "detector_shape": [24, 28],
        "pixel_mm": [1.2, 1.2],
        "num_views": 12,
        "source_origin_mm": 60.0,
        "origin_detector_mm": 20.0,
    }
    return spec_from_document(document, {})


@pytest.fixture(scope="session")
def parallel_spec():
    """Return a parallel beam over 16³ voxels with 15 views at angles of a file."""
    document = {
        "kind": "parallel_beam",
        "volume_shape": [16, 16, 16],
        "num_columns": 24,
        "pixel_mm": 1.0,
        "angles_file": "angles.npy",
    }
    return spec_from_document(document, {"angles_file": np.arange(15) * 12.0})


@pytest.fixture(scope="session")
def inpainting_spec():
    """Return an inpainting operator over 16³ voxels, which has no finer grid."""
    mask = np.random.default_rng(0).random((16, 16, 16)) < 0.6
    document = {"kind": "inpainting", "volume_shape": [16, 16, 16], "mask_file": "mask.npy"}
    return spec_from_document(document, {"mask_file": mask})
