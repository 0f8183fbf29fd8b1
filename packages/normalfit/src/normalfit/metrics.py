"""grid_error and patch_error: how far factors are from ``N``, on probes no fit has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.estimate import Estimate, relative_error
from normalfit.grid import Patch
from normalfit.probes import draw_probe, generator
from normalfit.restriction import restrict

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator


@torch.no_grad()
def grid_error(
    normal: Callable[[torch.Tensor], torch.Tensor],
    approximation: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    *,
    probes: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Estimate:
    """Return ``‖N - B‖_F / ‖N‖_F`` on the whole grid (paper, eqs. 17-18).

    Costs `probes` applications of ``N``. The probes are those of the stream 'evaluation', which
    no fit draws from.

    Parameters
    ----------
    normal, approximation
        ``N`` and ``B`` on ``(*shape)``.

    Raises
    ------
    InputError
        There are fewer than two probes, or ``N`` is zero.
    """
    errors, energies = [], []
    for index in range(probes):
        w = draw_probe(
            shape, seed=seed, stream="evaluation", index=index, device=device, dtype=dtype
        )
        response = normal(w)
        errors.append(_energy(response - approximation(w)))
        energies.append(_energy(response))
    return relative_error(errors, energies)


@torch.no_grad()
def patch_error(
    operator: LinearOperator,
    factors: Factors,
    patch_shape: tuple[int, ...],
    *,
    probes: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Estimate:
    """Return ``‖P (N - B) Pᵀ‖_F / ‖P N Pᵀ‖_F`` over patches drawn uniformly, one per probe.

    This is what training on patches meets. Costs `probes` restricted applications of ``N``.

    Raises
    ------
    InputError
        The patch does not fit the grid, or as for `grid_error`.
    """
    errors, energies = [], []
    for index in range(probes):
        patch = _draw_patch(factors.shape, patch_shape, seed, index)
        w = draw_probe(
            patch_shape,
            seed=seed,
            stream="patches",
            index=2 * index + 1,
            device=device,
            dtype=dtype,
        )
        response = operator.restricted(patch).normal(w)
        errors.append(_energy(response - restrict(factors, patch)(w)))
        energies.append(_energy(response))
    return relative_error(errors, energies)


def _draw_patch(
    shape: tuple[int, ...], patch_shape: tuple[int, ...], seed: int, index: int
) -> Patch:
    """Draw an offset uniformly from all that keep the patch inside, the last included."""
    Patch((0,) * len(patch_shape), patch_shape).check_inside(shape)
    random = generator(seed, "patches", 2 * index)
    offset = [
        int(torch.randint(0, n - p + 1, (), generator=random))
        for n, p in zip(shape, patch_shape, strict=True)
    ]
    return Patch(tuple(offset), patch_shape)


def _energy(x: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(x)) ** 2
