"""A project of small files, made once, and ways to call the command line on it."""

import sys

import numpy as np
import pytest
import torch

from normalfit.factor_file import save_factors
from normalfit.factor_file.metadata import FactorMetadata
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import load_spec
from normalfit.spectral_norm import SpectralNorm
from partunroll.cli import main
from partunroll.configuration.train_config import PriorConfig, UnrolledConfig
from partunroll.network.checkpoint import Checkpoint, TrainedOperator, save_checkpoint
from partunroll.network.networks import build_network

SHAPE = (24, 20)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Operators, factors, a checkpoint and a data store of 2-D deconvolution, made once."""
    folder = tmp_path_factory.mktemp("project")
    write_operator(folder / "op.yaml", 1.2)
    write_operator(folder / "other.yaml", 1.5)
    norm = write_factors(folder / "factors.zarr", folder / "op.yaml")
    write_factors(folder / "other.zarr", folder / "other.yaml")
    write_checkpoint(folder / "best.pt", folder / "op.yaml", norm)
    rng = np.random.default_rng(3)
    for name in "abc":
        np.savez(folder / f"{name}.npz", volume=rng.random(SHAPE, dtype=np.float32))
    operator, volumes = ["--operator", folder / "op.yaml"], [folder / f"{n}.npz" for n in "ab"]
    with pytest.raises(SystemExit) as ended:
        call("simulate", *operator, "--volumes", *volumes, "-o", folder / "data.zarr")
    assert ended.value.code == 0
    return folder


@pytest.fixture
def cli(capfd):
    """Run a command; return its exit code, its stdout and its stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            call(*arguments)
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def refused(cli):
    """Run a command that must fail as a user's error does; return its message."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


def call(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["partunroll", *map(str, arguments)])
        main()


def write_operator(path, std):
    lines = ["kind: deconvolution", f"volume_shape: {list(SHAPE)}", f"gaussian_std_voxels: {std}"]
    path.write_text("\n".join([*lines, "boundary: periodic", "voxel_mm: 0.5", ""]))


def write_factors(path, yaml):
    """Write exact factors: A*A is a periodic convolution, its kernel the response of a point."""
    spec = load_spec(yaml)
    point = torch.zeros(SHAPE)
    point[SHAPE[0] // 2, SHAPE[1] // 2] = 1
    kernel = spec.build().normal(point)
    norm = float(kernel.sum())
    found = SpectralNorm(norm, True, 1)
    metadata = FactorMetadata(spec, spec.fingerprint, found, 0.0, voxel_mm=spec.grid.voxel_mm)
    save_factors(path, Factors(LagKernel(kernel[None], SHAPE, ("periodic",) * 2)), metadata)
    return norm


def write_checkpoint(path, yaml, norm):
    config = UnrolledConfig(iterations=2, prior=PriorConfig(dim=2, widths=(2, 2, 2, 2)))
    torch.manual_seed(0)
    network = build_network(config)
    trained = TrainedOperator("op", load_spec(yaml).fingerprint, norm, "least-squares", None)
    checkpoint = Checkpoint(
        config, network.state_dict(), (trained,), (16, 16), normal="factors", step=0
    )
    save_checkpoint(path, checkpoint)


@pytest.fixture
def reconstruct_arguments(project):
    """Make the arguments of a reconstruction that works, but for the options replaced."""
    return lambda output, **replaced: _reconstruct_arguments(project, output, **replaced)


def _reconstruct_arguments(project, output, **replaced):
    options = {
        "--checkpoint": project / "best.pt",
        "--operator": project / "op.yaml",
        "--factors": project / "factors.zarr",
        "--measurements": project / "data.zarr/samples/a/measurements",
        "-o": output,
    }
    options |= {f"--{name}": value for name, value in replaced.items()}
    return ["reconstruct", *(str(part) for option in options.items() for part in option)]
