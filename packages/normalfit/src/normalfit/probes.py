"""Probes: seeded Gaussian volumes ``w``, and the responses ``N w`` that fits and errors use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from normalfit.errors import InputError
from normalfit.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from normalfit.progress import Progress

Stream = Literal[
    "training",
    "held-out",
    "evaluation",
    "patches",
    "patch places",
    "norm",
    "check",
    "start",
    "fresh evaluation",
    "fresh patches",
    "fresh patch places",
]
"""What a probe is for. Probes of different streams are independent under one seed.

The order fixes the numbers: new ones go to the end.
"""


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Probes with their responses; indexing and iteration run over the probes.

    Parameters
    ----------
    probes
        ``w``, one tensor ``(*shape)`` per probe, or a tensor ``(probe, *shape)``.
    responses
        ``N w`` in the same order.

    Raises
    ------
    InputError
        The set is empty, or probes and responses do not match.
    """

    probes: torch.Tensor | Sequence[torch.Tensor]
    responses: torch.Tensor | Sequence[torch.Tensor]

    def __post_init__(self) -> None:
        if len(self.probes) != len(self.responses) or len(self.probes) == 0:
            msg = (
                "probes must be as many as responses and at least one, "
                f"got {len(self.probes)} probes and {len(self.responses)} responses"
            )
            raise InputError(msg)
        for index, (w, response) in enumerate(zip(self.probes, self.responses, strict=True)):
            if w.shape != response.shape:
                msg = (
                    f"response {index} must have the probe's shape {tuple(w.shape)}, "
                    f"got {tuple(response.shape)}"
                )
                raise InputError(msg)

    def __len__(self) -> int:
        return len(self.probes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return tuple(self.probes[0].shape)

    @property
    def response_energy(self) -> float:
        """Mean of ``|N w|²`` per voxel and probe.

        Raises
        ------
        InputError
            It is zero: there is nothing to fit.
        """
        total = sum(float(torch.linalg.vector_norm(response)) ** 2 for response in self.responses)
        if total == 0:
            msg = f"operator must respond to at least one probe, got A*A w = 0 for {len(self)}"
            raise InputError(msg)
        return total / (len(self) * math.prod(self.shape))


def generator(seed: int, stream: Stream, index: int) -> torch.Generator:
    """Return the CPU generator of one probe: it does not depend on how many are drawn.

    Raises
    ------
    InputError
        The seed is negative.
    """
    if seed < 0:
        msg = f"seed must be zero or more, got {seed}"
        raise InputError(msg)
    entropy = np.random.SeedSequence([seed, get_args(Stream).index(stream), index])
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


def draw_probe(
    shape: tuple[int, ...],
    *,
    seed: int,
    stream: Stream,
    index: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return one standard Gaussian volume of `shape`.

    It is drawn in float32 on the CPU and then moved, so every device and dtype gets the same
    numbers.
    """
    w = torch.randn(shape, generator=generator(seed, stream, index), dtype=torch.float32)
    return w.to(device, dtype)


def respond(normal: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor) -> torch.Tensor:
    """Return ``N w``.

    Raises
    ------
    InputError
        It holds NaN or infinity, or is complex for a real probe.
    """
    response = normal(w)
    check_real("A*A w", response, w)
    if not bool(torch.isfinite(response).all()):
        msg = "operator must return finite values, got NaN or infinity for a Gaussian probe"
        raise InputError(msg)
    return response


def check_real(name: str, result: torch.Tensor, probe: torch.Tensor) -> None:
    """Raise InputError where an operator makes a real probe complex."""
    if result.is_complex() and not probe.is_complex():
        msg = (
            f"{name} must be real for a real probe, got {result.dtype}; "
            "complex operators are not fitted yet (probes are real)"
        )
        raise InputError(msg)


def collect_responses(
    normal: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    count: int,
    *,
    seed: int,
    stream: Stream,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress = no_progress,
) -> ProbeSet:
    """Draw `count` probes and apply ``N`` to each, one at a time; `count` applications of N.

    Parameters
    ----------
    normal
        ``N`` on ``(*shape)``.

    Raises
    ------
    InputError
        `count` is not positive, or ``N`` returns NaN, infinity or complex values.
    """
    probes, responses = [], []
    for index in range(count):
        w = draw_probe(shape, seed=seed, stream=stream, index=index, device=device, dtype=dtype)
        probes.append(w)
        responses.append(respond(normal, w))
        progress(f"{stream} probes", index + 1, count, "")
    return ProbeSet(probes, responses)
