"""Files that the pages take for granted, made small."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from normalfit.factor_file import save_factors
from normalfit.factor_file.metadata import FactorMetadata
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.mri.birdcage import birdcage_maps
from normalfit.specs import load_spec
from normalfit.spectral_norm import SpectralNorm
from partunroll.configuration.train_config import TrainConfig
from partunroll.measurements.operator_files import load_operators
from partunroll.measurements.simulation import simulate
from partunroll.objects.made_objects import made_object
from partunroll.objects.object_sources import MadeObjects
from partunroll.store.data_store import DataStore
from partunroll.training.patch_training import train

TESTS = Path(__file__).parents[1]
KSPACE_SHAPE = (4, 16, 16)  # of the operator on docs/mri.md


@pytest.fixture
def make_files():
    """Return what makes the files that a page takes for granted in a folder, by the page's name."""
    makers = {
        "docs/baselines.md": blurred,
        "docs/comparison.md": blurred,
        "docs/factor-file.md": blurred,
        "docs/implicit.md": blurred,
        "docs/mri.md": measured_coils,
        "docs/own-data.md": collections,
        "docs/training.md": trained,
        "packages/normalfit/README.md": earlier_version,
        "packages/partunroll/README.md": blurred,
    }
    return lambda page, folder: makers.get(page, lambda folder: None)(folder)


def blurred(folder):
    """Make op.yaml, a periodic blur, its exact factors.zarr, a.npz, b.npz, and y.npy of a."""
    lines = ["kind: deconvolution", "volume_shape: [24, 24, 24]", "gaussian_std_voxels: 1.2"]
    (folder / "op.yaml").write_text("\n".join([*lines, "boundary: periodic", ""]))
    spec = load_spec(folder / "op.yaml")
    point = torch.zeros(24, 24, 24)
    point[12, 12, 12] = 1
    kernel = spec.build().normal(point)
    norm = SpectralNorm(float(kernel.sum()), True, 1)
    metadata = FactorMetadata(spec, spec.fingerprint, norm, 0.0)
    factors = Factors(LagKernel(kernel[None], (24,) * 3, ("periodic",) * 3))
    save_factors(folder / "factors.zarr", factors, metadata)
    for number, name in enumerate("ab"):
        np.savez(folder / f"{name}.npz", volume=made_object((24,) * 3, number))
    blur = spec.build().forward(torch.from_numpy(made_object((24,) * 3, 0)))
    np.save(folder / "y.npy", blur.numpy())


def trained(folder):
    """Make, besides those, data.zarr and runs/NAME, a run of one step."""
    blurred(folder)
    operators = load_operators([folder / "op.yaml"])
    simulate(operators, MadeObjects(2), folder / "data.zarr", validation=1)
    prior = {"widths": (2, 2, 2, 2)}
    config = TrainConfig(steps=1, patch_shape=8, network={"iterations": 1, "prior": prior})
    train(config, [folder / "factors.zarr"], folder / "data.zarr", folder / "runs/NAME")
    y = DataStore.open(folder / "data.zarr").read("made-0-0001", "measurements")
    np.save(folder / "y.npy", y)


def measured_coils(folder):
    """Make kspace.npz of five coils, two operators and two volumes."""
    from normalfit.mri.centred_fft import centred_fft

    images = birdcage_maps(5, KSPACE_SHAPE, radius=1.5) * torch.from_numpy(
        made_object(KSPACE_SHAPE, 0)
    )
    kspace = centred_fft(images, (-3, -2, -1))
    np.savez(folder / "kspace.npz", kspace=kspace.numpy())
    keys = "num_coils: 4\nreadout_axis: 0\nmask: poisson-disc\ncalibration: 2"
    for r in (5, 10):
        text = f"kind: multicoil_mri\nvolume_shape: [8, 12, 12]\n{keys}\nacceleration: {r}\n"
        (folder / f"r{r}.yaml").write_text(text)
    for number, name in enumerate(("head", "other")):
        np.savez(folder / f"{name}.npz", volume=made_object((8, 12, 12), number))


def collections(folder):
    """Make walnuts in DIR and heads in HEADS, as the tests of either reader do."""
    walnuts = _module(TESTS / "partunroll/data/test_prepare_walnut.py")
    for number in (1, 2, 10):
        walnuts.write_walnut(folder / "DIR", number)
    heads = _module(TESTS / "partunroll/mri/test_prepare_calgary.py")
    for (name, shape), part in zip(heads.SHAPES.items(), ("Train", "Val"), strict=True):
        heads.write_scan(folder / "HEADS" / part / f"{name}.h5", shape)


def earlier_version(folder):
    """Copy a factor file of version 0.1 to old.zarr."""
    old = sorted((TESTS / "normalfit/factor_file/golden/0.1").glob("*.zarr"))[0]
    shutil.copytree(old, folder / "old.zarr")


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
