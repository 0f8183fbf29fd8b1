"""A noiseless problem whose factors are exact, a small scan, and the facts of a made-up file."""

from typing import Any

import pytest
import torch
from tests.partunroll.reconstruction.small_scan import SmallScan
from torch import nn

from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.linear_operator import FunctionOperator
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.reconstruction.reconstruction_file import InitialFacts, ReconstructionFacts
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.store import data_store_header

SHAPE = (9, 10)
STEP_SIZES = (0.7, 0.5, 0.9, 0.6, 0.8)


class SmallNetwork(nn.Module):
    """A network whose prior looks one voxel around: a convolution and a nonlinearity."""

    cg_iterations = 0

    def __init__(self):
        super().__init__()
        self.weight = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(5)) * 0.3
        self.step_sizes = torch.tensor(STEP_SIZES)

    def prior(self, x):
        padded = nn.functional.pad(x[:, None], (1, 1, 1, 1), mode="replicate")
        return torch.tanh(nn.functional.conv2d(padded, self.weight.to(x)))[:, 0] + x

    def forward(self, initial_estimate, initial_gradient, normal):
        problem = PatchProblem(initial_estimate, initial_gradient, normal)
        x = initial_estimate
        for step_size in self.step_sizes:
            x = self.prior(x - step_size * problem.gradient(x))
        return x


class CountedOperator(FunctionOperator):
    """A periodic convolution that counts how often it is applied."""

    def __init__(self, shape=SHAPE):
        generator = torch.Generator().manual_seed(1)
        kernel = torch.zeros(shape, dtype=torch.float64)
        kernel[:3, :4] = torch.randn(3, 4, dtype=torch.float64, generator=generator)
        self.spectrum = torch.fft.fftn(kernel)
        self.counts = {"forward": 0, "adjoint": 0}
        super().__init__(Grid(shape), Grid(shape), self._convolve, self._correlate, batched=True)

    def _convolve(self, x):
        self.counts["forward"] += 1
        return self._filter(x, self.spectrum)

    def _correlate(self, y):
        self.counts["adjoint"] += 1
        return self._filter(y, self.spectrum.conj())

    def _filter(self, x, spectrum):
        axes = (-2, -1)
        product = torch.fft.fftn(x, dim=axes) * spectrum.to(x.device)
        return torch.fft.ifftn(product, dim=axes).real.to(x.dtype)

    @property
    def norm(self):
        return float(self.spectrum.abs().max() ** 2)

    @property
    def factors(self):
        """``A*A`` itself: it is a periodic convolution."""
        kernel = torch.fft.ifftn(self.spectrum.abs() ** 2).real
        centre = [n // 2 for n in kernel.shape]
        values = kernel.roll(centre, (0, 1))[None]
        return Factors(LagKernel(values, tuple(kernel.shape), ("periodic",) * 2))


class Scene:
    """A noiseless problem in float64."""

    def __init__(self):
        generator = torch.Generator().manual_seed(2)
        self.operator = CountedOperator()
        self.truth = torch.rand(SHAPE, dtype=torch.float64, generator=generator)
        self.y = self.operator.forward(self.truth)
        noise = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
        self.x0 = self.truth + 0.3 * noise
        self.network: Any = SmallNetwork()
        self.operator.counts.update(forward=0, adjoint=0)

    def reconstruct(self, factors="exact", **options):
        factors = self.operator.factors if factors == "exact" else factors
        options = {"patch_shape": 6, "overlap": 3} | options
        return reconstruct(
            self.network, self.operator, self.y, factors, self.operator.norm, self.x0, **options
        )


@pytest.fixture
def scene():
    return Scene()


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """A small scan whose volumes on disk have many chunks."""
    monkeypatch.setattr(data_store_header, "VOLUME_CHUNK", 4)
    return SmallScan(tmp_path)


@pytest.fixture
def facts():
    return ReconstructionFacts(
        command="partunroll reconstruct",
        operator={"kind": "inpainting"},
        fingerprint="abc",
        norm=2.5,
        checkpoint={"path": "best.pt", "sha256": "0", "step": 3},
        factors=None,
        measurements={"path": "y.npy"},
        initial_estimate=InitialFacts(method="FDK, window hann", path=None),
        intensity_per_mm=None,
        settings={"stages": 2, "patch_shape": [4, 4, 4], "num_patches": 8},
        iterations=[
            {"step_size": 1.0, "gradient_norm": 2.0, "residual_norm": 0.5},
            {"step_size": 1.0, "gradient_norm": 1.0, "residual_norm": None},
        ],
        residual_norm=0.25,
        seconds=[1.0, 2.0],
        voxel_mm=(1.0, 2.0, 2.0),
        notes=["a note"],
    )
