"""Small factors and what is said about them, for every test of the factor file."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from normalfit.factor_file import FactorMetadata
from normalfit.factors import Factors
from normalfit.lag_grid import LagGrid
from normalfit.lag_kernel import LagKernel
from normalfit.spectral_norm import SpectralNorm

MakeFactors = Callable[..., Factors]


@pytest.fixture
def make_factors() -> MakeFactors:
    """Return a maker of random factors, the full lags of their grid unless told."""

    def make(
        shape=(6, 5, 4),
        boundary: Any = "linear",
        dtype=torch.float32,
        terms=1,
        diagonals="u",
        shared=False,
        lags=None,
    ):
        generator = torch.Generator().manual_seed(7)
        ends: Any = (boundary,) * len(shape) if isinstance(boundary, str) else boundary
        lags = lags or LagGrid.full(shape, ends).lags
        kernel = torch.randn(terms, *lags, dtype=dtype, generator=generator)
        images = {
            name: torch.randn(1 if shared else terms, *shape, dtype=dtype, generator=generator)
            for name in diagonals
        }
        return Factors(LagKernel(kernel, shape, ends), images.get("u"), images.get("v"))

    return make


@pytest.fixture
def metadata() -> FactorMetadata:
    """Metadata of an operator that has no YAML form."""
    return FactorMetadata(
        spec=None,
        fingerprint="0" * 64,
        norm=SpectralNorm(value=1.0 / 3.0, converged=True, iterations=12),
        adjointness=1e-8,
        report={"method": "least-squares", "history": [[2, 0.5, None], [4, 0.25, 0.1]]},
        voxel_mm=(0.1, 0.2, 0.3),
        command="normalfit fit --operator op.yaml",
    )
