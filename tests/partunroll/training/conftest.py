"""A data store of two blurs of small images, with factor files that are not quite the blurs'."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.lag_kernel import LagKernel
from normalfit.specs import OperatorSpec, spec_from_document
from normalfit.spectral_norm import SpectralNorm
from partunroll.configuration.train_config import TrainConfig
from partunroll.store.data_store import SampleInfo, create_store
from partunroll.training.patch_training import train
from partunroll.training.training_operator import match_factor_files

SHAPE = (20, 22)
SHORT: dict[str, Any] = {"steps": 8, "validation": {"every": 4}}


@dataclass(frozen=True)
class Problem:
    """Where the files are."""

    data: Path
    factors: tuple[Path, ...]
    specs: dict[str, OperatorSpec]

    def config(self, **values) -> TrainConfig:
        """A tiny resolved configuration."""
        network = {"iterations": 2, "prior": {"widths": [2, 2, 2, 2]}}
        tiny = {"network": network, "patch_shape": [12, 9], "steps": 60, "device": "cpu"}
        return TrainConfig.model_validate({**tiny, **values}).resolved(SHAPE)

    def run(self, output, *, resume=False, stop_after=None, **values):
        """Train into a folder."""
        config = self.config(**{"validation": {"every": 20}, **values})
        return train(config, self.factors, self.data, output, resume=resume, stop_after=stop_after)

    def resume(self, output, **values):
        """Go on with a short run."""
        return self.run(output, resume=True, **{**SHORT, **values})

    @property
    def operators(self):
        return match_factor_files(self.specs, self.factors)

    @staticmethod
    def blur(std) -> OperatorSpec:
        return blur(std)

    @staticmethod
    def save_factors(path, spec, norm=0.9):
        save(path, spec, norm)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Images this small are slower on two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def problem(tmp_path_factory) -> Problem:
    folder = tmp_path_factory.mktemp("problem")
    specs = {f"std{std}": blur(std) for std in (1, 2)}
    factors = tuple(folder / f"{name}.zarr" for name in specs)
    for path, spec in zip(factors, specs.values(), strict=True):
        save(path, spec)
    with create_store(folder / "data.zarr", specs, {}) as writer:
        for name, spec in specs.items():
            for number in range(4):
                split = "train" if number < 3 else "validation"
                info = SampleInfo(id=f"{name}-{number}", operator=name, split=split, source="test")
                writer.add_sample(info, arrays(spec, number))
    return Problem(folder / "data.zarr", factors, specs)


@pytest.fixture(scope="session")
def finished(problem, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "finished"
    return problem.run(output)


@pytest.fixture(scope="session")
def short(problem, tmp_path_factory):
    """A run of 8 steps, and the same run stopped after 4."""
    folder = tmp_path_factory.mktemp("short")
    problem.run(folder / "straight", **SHORT)
    problem.run(folder / "stopped", **SHORT, stop_after=4)
    return folder


@pytest.fixture
def stopped(short, tmp_path):
    return shutil.copytree(short / "stopped", tmp_path / "run")


def blur(std) -> OperatorSpec:
    document = {
        "kind": "deconvolution",
        "volume_shape": list(SHAPE),
        "gaussian_std_voxels": 0.5 * std,
    }
    return spec_from_document(document, {})


def arrays(spec: OperatorSpec, seed: int) -> dict[str, np.ndarray]:
    """A square on an empty background, blurred, with noise."""
    rng = np.random.default_rng(seed)
    operator = spec.build()
    truth = torch.zeros(SHAPE)
    top, left = rng.integers(2, 8, size=2)
    truth[top : top + 8, left : left + 9] = 1
    noise = torch.from_numpy(rng.normal(0, 0.02, SHAPE).astype(np.float32))
    measurements = operator.forward(truth) + noise
    residual = measurements - operator.forward(truth)
    tensors = {
        "reference": truth,
        "measurements": measurements,
        "initial_estimate": measurements,
        "backprojection": operator.adjoint(measurements),
        "residual_backprojection": operator.adjoint(residual),
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def save(path: Path, spec: OperatorSpec, norm: float = 0.9) -> None:
    """Factors with a diagonal, so that patches at different places differ."""
    generator = torch.Generator().manual_seed(1)
    kernel = torch.rand((1, 5, 5), generator=generator) / 25
    kernel[0, 2, 2] += 0.5
    u = 1 + 0.1 * torch.rand((1, *SHAPE), generator=generator)
    factors = Factors(LagKernel(kernel, SHAPE, ("linear", "linear")), u)
    found = SpectralNorm(norm, converged=True, iterations=10)
    save_factors(path, factors, FactorMetadata(spec, spec.fingerprint, found, adjointness=0.0))
