"""A small cone beam that is reconstructed in memory and on disk, by a network one may interrupt."""

import numpy as np
import torch
from torch import nn

from normalfit.factor_file import FactorMetadata, save_factors
from normalfit.factors import Factors
from normalfit.grid import Grid
from normalfit.lag_kernel import LagKernel
from normalfit.operators.cone_beam import ConeBeam
from normalfit.operators.cone_geometry import ConeGeometry
from normalfit.slab_memory import slab_bytes
from normalfit.spectral_norm import SpectralNorm
from partunroll.network.networks import data_step
from partunroll.patches.blended_patches import overlapping_windows
from partunroll.patches.patch_gradient import PatchProblem
from partunroll.reconstruction.stored_problem import StoredProblem
from partunroll.reconstruction.stored_reconstruction import reconstruct_stored
from partunroll.reconstruction.two_stages import reconstruct
from partunroll.reconstruction.work_folder import opened

SHAPE = (17, 7, 8)
STEPS = (0.7, 0.5, 0.9)


class SmallNetwork(nn.Module):
    """A prior of one convolution and a nonlinearity that may be interrupted at any batch."""

    cg_iterations = 0

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = torch.randn(1, 1, 3, 3, 3, generator=generator) * 0.1
        self.step_sizes = torch.tensor(STEPS)
        self.calls_left = None

    def prior(self, x):
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise KeyboardInterrupt
        padded = nn.functional.pad(x[:, None], (1,) * 6, mode="replicate")
        return torch.tanh(nn.functional.conv3d(padded, self.weight))[:, 0] + x

    def forward(self, initial_estimate, initial_gradient, normal):
        problem = PatchProblem(initial_estimate, initial_gradient, normal)
        x = initial_estimate
        for step_size in self.step_sizes:
            x = self.prior(data_step(x, step_size, problem, self.cg_iterations))
        return x


class SmallScan:
    """A small cone beam, rough factors of it with limited lags, in memory and in a file."""

    def __init__(self, folder):
        geometry = ConeGeometry.circular_orbit(
            num_views=8, source_origin_mm=60.0, origin_detector_mm=30.0,
            detector_shape=(30, 18), pixel_mm=(1.5, 1.5),
        )  # fmt: skip
        self.operator = ConeBeam(Grid(SHAPE, (1.0,) * 3), geometry, "numba")
        generator = torch.Generator().manual_seed(2)
        x = torch.rand(SHAPE, generator=generator)
        self.y = self.operator.forward(x)
        self.x0 = x + 0.1 * torch.randn(SHAPE, generator=generator)
        lags = torch.rand(1, 5, 5, 5, generator=generator)
        u = torch.rand(1, *SHAPE, generator=generator)
        self.factors = Factors(LagKernel(lags, SHAPE, ("linear",) * 3), u, u)
        self.norm = 3000.0
        metadata = FactorMetadata(None, "0" * 64, SpectralNorm(self.norm, True, 1), 0.0)
        self.file = save_factors(folder / "factors.zarr", self.factors, metadata)
        self.network = SmallNetwork()

    def in_memory(self, **options):
        return reconstruct(
            self.network, self.operator, self.y, self.factors, self.norm, self.x0,
            **{"patch_shape": 6, **options},
        )  # fmt: skip

    def on_disk(self, folder, *, factors=None, identity=None, blend="hann", **options):
        windows = overlapping_windows(
            SHAPE, options.pop("patch_shape", 6), options.pop("overlap", None), blend=blend
        )
        with opened(folder, identity or {"of": "test"}, SHAPE, np.dtype(np.float32)) as work:
            work.save("initial_estimate", self.x0)
            problem = StoredProblem(
                self.operator, self.y, work.volume("initial_estimate"), self.norm,
                factors or self.file, planes=5, slab_bytes=slab_bytes(self.factors.kernel, 1, 10),
            )  # fmt: skip
            result = reconstruct_stored(self.network, problem, windows, work, **options)
            return result, result.final[:], result.stage1[:]
