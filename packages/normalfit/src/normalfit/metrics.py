"""Errors of an approximation ``B`` of ``N``, on the grid and on patches, from fresh probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from normalfit.energy import energy
from normalfit.estimate import relative_error_estimate
from normalfit.probes import draw_probe, generator, respond
from normalfit.progress import no_progress
from normalfit.random_patch import half_grid, random_patch
from normalfit.restriction import restrict

if TYPE_CHECKING:
    from collections.abc import Callable

    from normalfit.estimate import Estimate
    from normalfit.factors import Factors
    from normalfit.linear_operator import LinearOperator
    from normalfit.probes import Stream
    from normalfit.progress import Progress


def grid_error(
    normal: Callable[[torch.Tensor], torch.Tensor],
    approximation: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    *,
    probes: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    stream: Stream = "evaluation",
    progress: Progress = no_progress,
) -> Estimate:
    """Return ``‖N - B‖_F / ‖N‖_F`` (paper eqs. 17-18); costs `probes` applications of N.

    Parameters
    ----------
    normal, approximation
        ``N`` and ``B`` on ``(*shape)``.
    probes
        Number of Gaussian probes, at least two. Memory does not grow with them.
    stream
        What the probes are drawn from. No fit learns from 'evaluation', whatever its seed, but
        its own report does use it.

    Raises
    ------
    InputError
        There are fewer than two probes, or ``N`` returns zeros, NaN or infinity.
    """
    errors, references = [], []
    for index in range(probes):
        w = draw_probe(shape, seed=seed, stream=stream, index=index, device=device, dtype=dtype)
        response = respond(normal, w)
        errors.append(energy(response - approximation(w)))
        references.append(energy(response))
        progress(f"{stream} probes", index + 1, probes, "")
    return relative_error_estimate(errors, references)


def patch_error(
    operator: LinearOperator,
    factors: Factors,
    patch_shape: tuple[int, ...] | None = None,
    *,
    probes: int = 32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    streams: tuple[Stream, Stream] = ("patches", "patch places"),
    progress: Progress = no_progress,
) -> Estimate:
    """Return the relative error of ``P B Pᵀ`` against ``P N Pᵀ`` over random patches.

    One probe for each of `probes` patches; costs as many applications of the restricted
    operator.

    Parameters
    ----------
    patch_shape
        Voxels of a patch; None is half of the grid.
    streams
        What the probes, and the patches' places, are drawn from.

    Raises
    ------
    InputError
        The patch does not fit, or there are fewer than two probes.
    """
    shape = operator.domain.shape
    patch_shape = half_grid(shape) if patch_shape is None else patch_shape
    errors, references = [], []
    for index in range(probes):
        patch = random_patch(shape, patch_shape, generator(seed, streams[1], index))
        w = draw_probe(
            patch_shape, seed=seed, stream=streams[0], index=index, device=device, dtype=dtype
        )
        restricted = operator.restricted(patch)
        # not its `normal`: of MRI that is factors itself
        response = restricted.adjoint(restricted.forward(w))
        errors.append(energy(response - restrict(factors, patch)(w)))
        references.append(energy(response))
        progress("patches", index + 1, probes, "")
    return relative_error_estimate(errors, references)
