"""The best factors of operators that fit in memory as matrices: alternating least squares on them.

Every entry of ``N`` is used, so there are neither probes nor ridges; written apart from the fits
of normalfit, which it judges.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from normalfit.smooth_image import smooth_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normalfit.linear_operator import LinearOperator

_BATCH = 512
_JITTER = 1e-6  # of the mean of a gram's diagonal
_SMOOTH_VOXELS = 2.0


class DenseOperator:
    """A normal operator on a cube as a matrix, and what its factors are compared on."""

    def __init__(self, operator: LinearOperator) -> None:
        self.shape = operator.domain.shape
        self.samples = math.prod(self.shape)
        self.matrix = torch.empty(self.samples, self.samples)
        for first in range(0, self.samples, _BATCH):
            rows = min(_BATCH, self.samples - first)
            unit = torch.zeros(rows, self.samples)
            unit[torch.arange(rows), torch.arange(first, first + rows)] = 1
            response = operator.normal(unit.reshape(rows, *self.shape))
            self.matrix[first : first + rows] = response.reshape(rows, -1)
        axes = [torch.arange(n) for n in self.shape]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(self.samples, -1)
        self._lag = place[:, None] - place[None]

    def lag_index(self, *, periodic: bool) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Return for every entry of the matrix the flat index of its lag; and the lags per axis."""
        lags = self.shape if periodic else tuple(2 * n - 1 for n in self.shape)
        flat = torch.zeros(self.samples, self.samples, dtype=torch.int64)
        for axis, n in enumerate(self.shape):
            lag = self._lag[..., axis]
            flat = flat * lags[axis] + (lag % n if periodic else lag + n - 1)
        return flat, lags

    def errors(self, approximation: torch.Tensor) -> dict[str, float]:
        """Return the relative errors on the grid, on patches of half of it, on smooth volumes."""
        left = self.matrix - approximation
        return {
            "grid": float(left.norm() / self.matrix.norm()),
            "patch n/2": self._on_patches(left),
            "smooth": float(self._smoothed(left).norm() / self._smoothed(self.matrix).norm()),
        }

    def _on_patches(self, left: torch.Tensor) -> float:
        error = total = 0.0
        for corner in range(2 ** len(self.shape)):
            slices = []
            for axis, n in enumerate(self.shape):
                first = n - n // 2 if corner >> axis & 1 else 0
                slices.append(slice(first, first + n // 2))
            box = (*slices, *slices)
            error += float(left.reshape(*self.shape, *self.shape)[box].square().sum())
            total += float(self.matrix.reshape(*self.shape, *self.shape)[box].square().sum())
        return math.sqrt(error / total)

    def _smoothed(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the matrix after a Gaussian filter of its argument."""
        result = matrix.reshape(self.samples, *self.shape)
        for axis, n in enumerate(self.shape):
            place = torch.arange(n, dtype=torch.float32)
            weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * _SMOOTH_VOXELS**2))
            result = torch.tensordot(result, weight, dims=([axis + 1], [0])).movedim(-1, axis + 1)
        return result


def periodic_optimum(dense: DenseOperator, iterations: int = 100) -> torch.Tensor:
    """Return the paper's optimum, the first singular pair of ``M[n, τ]``, as a matrix."""
    index, lags = dense.lag_index(periodic=True)
    # every row has every lag once, so that M is the matrix with its rows permuted
    M = torch.empty_like(dense.matrix).scatter_(1, index, dense.matrix)
    kernel = torch.randn(math.prod(lags), generator=torch.Generator().manual_seed(0))
    for _ in range(iterations):
        u = M @ kernel
        u = u / u.norm()
        kernel = M.T @ u
    return u[:, None] * kernel[index]


def tied_optima(dense: DenseOperator, most: int, sweeps: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the best sums of 1, 2, … terms ``u_k (h_k ∗ (u_k x))``, linear boundary, as matrices.

    Terms are added one by one; each is the better of two smooth random starts.
    """
    index, lags = dense.lag_index(periodic=False)
    u = torch.ones(1, dense.samples)
    for terms in range(1, most + 1):
        starts = [u]
        if terms > 1:
            starts = [torch.cat([u, _smooth(dense, 10 * terms + seed)]) for seed in range(2)]
        fits = [_alternated(dense, index, math.prod(lags), start, sweeps) for start in starts]
        u, matrix = min(fits, key=lambda fit: float((dense.matrix - fit[1]).norm()))
        yield terms, matrix


def _smooth(dense: DenseOperator, seed: int) -> torch.Tensor:
    return smooth_image(dense.shape, torch.Generator().manual_seed(seed)).reshape(1, -1)


def _alternated(
    dense: DenseOperator, index: torch.Tensor, num_lags: int, u: torch.Tensor, sweeps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    for _ in range(sweeps):
        u = u / u.square().mean(1, keepdim=True).sqrt()
        h = _kernels(dense, index, num_lags, u)
        features = [kernel[index] * image for kernel, image in zip(h, u, strict=True)]
        right = torch.stack([(dense.matrix * f).sum(1) for f in features], -1)
        u = (u + _solved(_gram(features), right)) / 2
    matrix = sum(a[:, None] * k[index] * a for k, a in zip(h, u, strict=True))
    return u, matrix


def _kernels(
    dense: DenseOperator, index: torch.Tensor, num_lags: int, u: torch.Tensor
) -> torch.Tensor:
    def by_lag(matrix: torch.Tensor) -> torch.Tensor:
        return torch.zeros(num_lags).index_add_(0, index.flatten(), matrix.flatten())

    terms = len(u)
    right = torch.stack([by_lag(dense.matrix * (a[:, None] * a)) for a in u], -1)
    gram = torch.empty(num_lags, terms, terms)
    for k in range(terms):
        for other in range(k, terms):
            gram[:, k, other] = gram[:, other, k] = _autocorrelation(dense, u[k] * u[other])
    even = lambda values: (values + values.flip(0)) / 2  # noqa: E731 - the tie of the kernels
    return _solved(even(gram), even(right))


def _autocorrelation(dense: DenseOperator, image: torch.Tensor) -> torch.Tensor:
    """Return ``Σ_n image[n] image[n-τ]`` for every lag, flat."""
    padded = [2 * n for n in dense.shape]
    spectrum = torch.fft.fftn(image.reshape(dense.shape).double(), s=padded)
    result = torch.fft.ifftn(spectrum.abs().square()).real
    for axis, n in enumerate(dense.shape):
        result = result.roll(n - 1, axis).narrow(axis, 0, 2 * n - 1)
    return result.reshape(-1).float()


def _gram(features: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([torch.stack([(a * b).sum(1) for b in features], -1) for a in features], -1)


def _solved(gram: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    gram = gram.double()
    jitter = _JITTER * torch.diagonal(gram, dim1=1, dim2=2).mean()
    gram = gram + jitter * torch.eye(gram.shape[-1], dtype=gram.dtype)
    return torch.linalg.solve(gram, right.double()).float().T.contiguous()
