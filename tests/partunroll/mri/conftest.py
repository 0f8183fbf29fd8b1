"""A small Cartesian scan, as a YAML file and as a data store with factors."""

import pytest
import yaml

from normalfit.fit_to_file import fit_to_file
from normalfit.specs import load_spec
from partunroll.measurements.noise import RelativeNoise
from partunroll.measurements.simulation import simulate
from partunroll.objects.object_sources import MadeObjects

DOCUMENT = {
    "kind": "multicoil_mri",
    "volume_shape": [12, 16, 14],
    "num_coils": 4,
    "mask": "poisson-disc",
    "acceleration": 3,
    "calibration": 4,
}


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """Folder with two operators r3.yaml and r5.yaml, data.zarr, and factors of all coils."""
    folder = tmp_path_factory.mktemp("mri")
    specs = {}
    for acceleration in (3, 5):
        path = folder / f"r{acceleration}.yaml"
        path.write_text(yaml.safe_dump(DOCUMENT | {"acceleration": acceleration}))
        specs[path.stem] = load_spec(path)
        fit_to_file(specs[path.stem], folder / f"r{acceleration}.zarr", method="direct")
    simulate(
        specs, MadeObjects(3), folder / "data.zarr", validation=1, noise=RelativeNoise(0.02), seed=4
    )
    return folder
