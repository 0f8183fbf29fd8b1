"""ProbedTerms: the linear map from kernels to what the terms of a sum make of fixed probes."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from normalfit.blocks import entries_per_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from normalfit.lag_grid import LagGrid

SPECTRA_BYTES = 2**29  # spectra kept instead of computed again: a third of the FFTs saved


class ProbedTerms:
    """``h -> (B w_m)_m`` for ``B = Σ_k u_k (h_k ∗ (v_k ·))`` and fixed probes, and its adjoint.

    Where N is self-adjoint its responses are also those of ``N*``, and B* is as linear in the
    kernels as B is: with `both_sides` the map is ``h -> (B w_m)_m, (B* w_m)_m``, which tells as
    much about the kernels as twice the probes would, nearly.

    Works probe by probe. The padded spectra that are needed again are kept where all of them
    fit into 512 MiB, and otherwise computed at every use, so that memory does not grow with
    the probes.

    Parameters
    ----------
    grid
        Lags of the kernels, and the grid of the probes.
    probes
        ``w_m``, each ``(*shape)``.
    u, v
        Diagonals ``(terms, *shape)``; None means ones.
    shared
        Whether one kernel serves all terms; kernels are then ``(1, *lags)``.
    both_sides
        Whether B* is probed too. The order of all results is every ``B w_m``, then every
        ``B* w_m``.
    """

    def __init__(
        self,
        grid: LagGrid,
        probes: torch.Tensor | Sequence[torch.Tensor],
        u: torch.Tensor | None = None,
        v: torch.Tensor | None = None,
        *,
        shared: bool = False,
        both_sides: bool = False,
    ) -> None:
        self.grid = grid
        self._probes = probes
        self._u, self._v = u, v
        self._half = not probes[0].is_complex()
        self._shared = shared
        self._sides = 2 if both_sides else 1
        self._kept: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def energy(self) -> float:
        """``Σ |w_m|²`` per voxel over both sides; the number of probes, if they are Gaussian."""
        total = sum(float(torch.linalg.vector_norm(w)) ** 2 for w in self._probes)
        return self._sides * total / math.prod(self.grid.shape)

    def features(self, kernels: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``h_k ∗ (v_k w_m)``, ``(terms, *shape)``, for every probe."""
        yield from self._features(0, self.grid.spectrum(kernels, half=self._half))

    def adjoint_features(self, kernels: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``h_k* ∗ (conj(u_k) w_m)``, ``(terms, *shape)``, for every probe."""
        yield from self._features(1, self.grid.spectrum(kernels, half=self._half).conj())

    def responses(self, kernels: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``B w_m``, then ``B* w_m``, each ``(*shape)``."""
        spectrum = self.grid.spectrum(kernels, half=self._half)
        for side in range(self._sides):
            for index in range(len(self._probes)):
                yield self._response(side, index, spectrum)

    def adjoint(self, images: Iterable[torch.Tensor]) -> torch.Tensor:
        """Return what the adjoint map makes of one image ``(*shape)`` per response.

        The result is ``(terms, *lags)``.
        """
        total: torch.Tensor | None = None
        for position, image in enumerate(images):
            side, index = divmod(position, len(self._probes))
            if total is not None and position == len(self._probes):
                total = total.conj_physical_()  # as the other side adds the conjugate
            outer = _conjugate(self._u) if side == 0 else self._v
            inner = self._spectrum(side, index).conj()
            terms = max(len(inner), 1 if outer is None else len(outer))
            if total is None:
                rows = 1 if self._shared else terms
                total = inner.new_zeros((rows, *inner.shape[1:]))
            for group in self._groups(terms):
                met = image[None] if outer is None else _of(outer, group) * image
                self.grid.add_product(_of(total, group), met, _of(inner, group), half=self._half)
        assert total is not None  # noqa: S101 - a probe set is never empty
        total = total if self._sides == 1 else total.conj_physical_()
        return self.grid.inverse_lags(total, half=self._half)

    def normal(self, kernels: torch.Tensor) -> torch.Tensor:
        """Return the adjoint map of the map of `kernels`, ``(terms, *lags)``."""
        return self.adjoint(self.responses(kernels))

    def _features(self, side: int, factor: torch.Tensor) -> Iterator[torch.Tensor]:
        for index in range(len(self._probes)):
            inner = self._spectrum(side, index)
            groups = self._groups(max(len(inner), len(factor)))
            yield torch.cat([self._convolved(inner, factor, group) for group in groups])

    def _response(self, side: int, index: int, spectrum: torch.Tensor) -> torch.Tensor:
        outer = self._u if side == 0 else _conjugate(self._v)
        inner = self._spectrum(side, index)
        factor = spectrum if side == 0 else spectrum.conj()
        if outer is None:
            return self.grid.inverse((inner * factor).sum(0), half=self._half)
        total: torch.Tensor | None = None
        for group in self._groups(len(outer)):
            convolved = self._convolved(inner, factor, group)
            part = (outer[group] * convolved).sum(0)
            total = part if total is None else total.add_(part)
        assert total is not None  # noqa: S101 - there is a term
        return total

    def _convolved(self, inner: torch.Tensor, factor: torch.Tensor, group: slice) -> torch.Tensor:
        return self.grid.inverse_product(_of(inner, group), _of(factor, group), half=self._half)

    def _groups(self, terms: int) -> list[slice]:
        """Return terms to work on together: as many as stay in the caches, or fill a GPU.

        27 local kernels of 49³ lags on 48³ voxels, one core, a kernel: 1.0 ms by one instead of
        2.0 all together (responses), and 1.1 instead of 2.5 (their adjoint).
        """
        size = entries_per_block(self._probes[0], math.prod(self.grid.fft_shape))
        return [slice(start, start + size) for start in range(0, terms, size)]

    def _spectrum(self, side: int, index: int) -> torch.Tensor:
        """Return the spectrum of what a kernel meets; one is kept always, as maps alternate."""
        if (side, index) not in self._kept:
            if not self._keeps_all:
                self._kept.clear()
            self._kept[side, index] = self._transform(side, index)
        return self._kept[side, index]

    def _transform(self, side: int, index: int) -> torch.Tensor:
        inner = self._v if side == 0 else _conjugate(self._u)
        w = self._probes[index]
        return self.grid.transform(w[None] if inner is None else inner * w, half=self._half)

    @cached_property
    def _keeps_all(self) -> bool:
        met = (self._v, self._u)[: self._sides]
        images = sum(1 if image is None else len(image) for image in met)
        # a real probe has half of the frequencies
        num_bytes = images * self._probes[0].element_size() * math.prod(self.grid.fft_shape)
        return len(self._probes) * num_bytes <= SPECTRA_BYTES


def _conjugate(image: torch.Tensor | None) -> torch.Tensor | None:
    return None if image is None else image.conj().resolve_conj()


def _of(entries: torch.Tensor, group: slice) -> torch.Tensor:
    """Return what terms have: their own, or what all of them share."""
    return entries[group] if len(entries) > 1 else entries
